//! The fields of a message, taken by name and type; what nobody took is unknown.

use super::text::{Field, TextError, Value};

/// The fields of one message that were not taken yet.
pub(super) struct Fields(Vec<Field>);

impl Fields {
    pub(super) fn new(fields: Vec<Field>) -> Self {
        Self(fields)
    }

    /// All fields of a repeated one.
    pub(super) fn all(&mut self, name: &str) -> Vec<Field> {
        self.0.extract_if(.., |field| field.name == name).collect()
    }

    /// The field, where it is there.
    pub(super) fn one(&mut self, name: &str) -> Result<Option<Field>, TextError> {
        let mut found = self.all(name).into_iter();
        let first = found.next();
        match found.next() {
            Some(second) => Err(second.wrong(format!("`{name}` is there more than once"))),
            None => Ok(first),
        }
    }

    /// A field of a type that has a default.
    pub(super) fn or_default<T: Default>(
        &mut self,
        name: &str,
        typed: impl FnOnce(Field) -> Result<T, TextError>,
    ) -> Result<T, TextError> {
        self.one(name)?.map_or_else(|| Ok(T::default()), typed)
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), TextError> {
        match self.0.into_iter().next() {
            Some(unknown) => Err(unknown.wrong(format!("`{}` is no field here", unknown.name))),
            None => Ok(()),
        }
    }
}

impl Field {
    pub(super) fn wrong(&self, message: String) -> TextError {
        TextError { line: self.line, message }
    }

    fn mistyped<T>(&self, wanted: &str) -> Result<T, TextError> {
        Err(self.wrong(format!("`{}` is no {wanted}", self.name)))
    }

    pub(super) fn message(self) -> Result<Fields, TextError> {
        match self.value {
            Value::Message(fields) => Ok(Fields(fields)),
            _ => self.mistyped("message in `{}`"),
        }
    }

    pub(super) fn bytes(self) -> Result<Vec<u8>, TextError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => self.mistyped("string in quotes"),
        }
    }

    pub(super) fn string(self) -> Result<String, TextError> {
        let (line, name) = (self.line, self.name.clone());
        String::from_utf8(self.bytes()?)
            .map_err(|_| TextError { line, message: format!("`{name}` is not UTF-8") })
    }

    /// An unsigned number that `T` can hold.
    pub(super) fn number<T: TryFrom<i128>>(self) -> Result<T, TextError> {
        match self.value {
            Value::Integer(number) => {
                T::try_from(number).map_err(|_| self.wrong(format!("{number} is out of range")))
            }
            _ => self.mistyped("integer"),
        }
    }

    pub(super) fn bool(self) -> Result<bool, TextError> {
        match &self.value {
            Value::Integer(1) => Ok(true),
            Value::Integer(0) => Ok(false),
            Value::Word(word) if ["true", "True", "t"].contains(&word.as_str()) => Ok(true),
            Value::Word(word) if ["false", "False", "f"].contains(&word.as_str()) => Ok(false),
            _ => self.mistyped("truth value"),
        }
    }

    pub(super) fn word(self) -> Result<String, TextError> {
        match self.value {
            Value::Word(word) => Ok(word),
            _ => self.mistyped("name"),
        }
    }
}
