//! The rules of [`crate::validate`] for whoever makes accounts beside the API: the operators' commands.

use crate::validate;

/// An e-mail address in its normal form.
///
/// # Errors
/// What is expected of one.
pub fn email(input: &str) -> Result<String, String> {
    validate::email(input).map_err(|error| error.to_string())
}

/// A new password of the user with this address.
///
/// # Errors
/// What is expected of one.
pub fn password(input: &str, email: &str) -> Result<(), String> {
    validate::password(input, email).map_err(|error| error.to_string())
}

/// A person's given or family name, without surrounding space; `field` names it in the error.
///
/// # Errors
/// What is expected of one.
pub fn person(field: &'static str, input: &str) -> Result<String, String> {
    validate::person(field, input).map_err(|error| error.to_string())
}
