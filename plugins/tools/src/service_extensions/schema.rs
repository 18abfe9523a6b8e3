//! The suites of GoogleCloudPlatform/service-extensions, typed: messages and fields are those of its
//! `plugins/test/runner.proto`.

use super::fields::Fields;
use super::matcher::Matcher;
use super::text::{Field, TextError, parse};
use crate::suite::{MAX_SUITE_BYTES, SuiteError};
use coditect_proxy_wasm::LogLevel;
use std::path::{Path, PathBuf};

/// A file of tests.
#[derive(Debug, Default)]
pub struct TextSuite {
    /// The file.
    pub file: PathBuf,
    /// `env.wasm_path`, from the working directory.
    pub plugin: Option<PathBuf>,
    /// `env.config_path`, from the working directory.
    pub configuration: Option<PathBuf>,
    /// `env.log_level`; `INFO` unless told otherwise.
    pub log_level: LogLevel,
    /// `env.time_secs`: the clock, in seconds since 1970.
    pub time: Option<u64>,
    /// The tests, in the file's order.
    pub tests: Vec<Test>,
}

/// One stream, phase by phase.
#[derive(Debug, Default)]
pub struct Test {
    /// Its name.
    pub name: String,
    pub(super) chunking: Option<Chunking>,
    pub(super) properties: Vec<(String, Vec<u8>)>,
    pub(super) request_headers: Option<Invocation>,
    pub(super) request_body: Vec<Invocation>,
    pub(super) response_headers: Option<Invocation>,
    pub(super) response_body: Vec<Invocation>,
    pub(super) plugin_init: Expectation,
    pub(super) stream_init: Expectation,
    pub(super) stream_destroy: Expectation,
}

/// How a body is cut.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chunking {
    /// Into this many, the last one longer.
    Count(usize),
    /// Into pieces of this many bytes.
    Size(usize),
}

#[derive(Debug, Default)]
pub(super) struct Invocation {
    pub(super) input: Input,
    pub(super) result: Expectation,
}

#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// Of `content`, or of the file.
    pub(super) content: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Expectation {
    pub(super) has_header: Vec<(String, Vec<u8>)>,
    pub(super) no_header: Vec<String>,
    pub(super) headers: Vec<Matcher>,
    pub(super) body: Vec<Matcher>,
    pub(super) immediate: Option<Immediate>,
    pub(super) log: Vec<Matcher>,
}

#[derive(Debug, Default)]
pub(super) struct Immediate {
    pub(super) http_status: Option<u32>,
    pub(super) grpc_status: Option<u32>,
    pub(super) details: Option<String>,
}

impl TextSuite {
    /// Reads a file, and those it names as inputs.
    ///
    /// # Errors
    /// One cannot be read, or says something that has no meaning; the line is named.
    pub fn read(file: &Path) -> Result<Self, SuiteError> {
        let text = crate::files::text(file, MAX_SUITE_BYTES)?;
        let wrong = |error: TextError| SuiteError::line(file, error.line, error.message);
        let fields = Fields::new(parse(&text).map_err(wrong)?);
        let folder = file.parent().unwrap_or(Path::new(""));
        let mut suite = Decoder { folder }.suite(fields).map_err(wrong)?;
        suite.file = file.to_owned();
        Ok(suite)
    }
}

/// Decodes messages; paths in them are from the file's folder.
struct Decoder<'a> {
    folder: &'a Path,
}

impl Decoder<'_> {
    fn suite(&self, mut fields: Fields) -> Result<TextSuite, TextError> {
        let mut suite = match fields.one("env")? {
            Some(env) => env_of(env)?,
            None => TextSuite::default(),
        };
        suite.tests = fields.all("test").into_iter().map(|test| self.test(test)).collect::<Result<_, _>>()?;
        fields.finish()?;
        Ok(suite)
    }

    fn test(&self, field: Field) -> Result<Test, TextError> {
        let line = field.line;
        let mut fields = field.message()?;
        let invocations = |fields: Vec<Field>| {
            fields.into_iter().map(|field| self.invocation(field)).collect::<Result<Vec<_>, _>>()
        };
        // It says that a test is a benchmark as well; `bench` is a command of its own here.
        fields.or_default("benchmark", Field::bool)?;
        let test = Test {
            name: fields.or_default("name", Field::string)?,
            chunking: chunking(&mut fields)?,
            properties: fields.all("properties").into_iter().map(property).collect::<Result<_, _>>()?,
            request_headers: fields.one("request_headers")?.map(|f| self.invocation(f)).transpose()?,
            request_body: invocations(fields.all("request_body"))?,
            response_headers: fields.one("response_headers")?.map(|f| self.invocation(f)).transpose()?,
            response_body: invocations(fields.all("response_body"))?,
            plugin_init: fields.or_default("plugin_init", |f| self.expectation(f))?,
            stream_init: fields.or_default("stream_init", |f| self.expectation(f))?,
            stream_destroy: fields.or_default("stream_destroy", |f| self.expectation(f))?,
        };
        fields.finish()?;
        if test.chunking.is_some() && (test.request_body.len() > 1 || test.response_body.len() > 1) {
            let message = "a body is cut into chunks only where it is given once".to_owned();
            return Err(TextError { line, message });
        }
        Ok(test)
    }

    fn invocation(&self, field: Field) -> Result<Invocation, TextError> {
        let mut fields = field.message()?;
        let invocation = Invocation {
            input: fields.or_default("input", |f| self.input(f))?,
            result: fields.or_default("result", |f| self.expectation(f))?,
        };
        fields.finish()?;
        Ok(invocation)
    }

    fn input(&self, field: Field) -> Result<Input, TextError> {
        let mut fields = field.message()?;
        let headers = fields.all("header").into_iter().map(header).collect::<Result<_, _>>()?;
        let content = fields.or_default("content", Field::bytes)?;
        let file = fields.one("file")?;
        fields.finish()?;
        let content = match file {
            Some(file) => self.file(file)?,
            None => content,
        };
        Ok(Input { headers, content })
    }

    fn expectation(&self, field: Field) -> Result<Expectation, TextError> {
        let mut fields = field.message()?;
        let matchers = |fields: Vec<Field>| {
            fields.into_iter().map(|field| self.matcher(field)).collect::<Result<Vec<_>, _>>()
        };
        let no_header = fields.all("no_header").into_iter().map(header);
        let expectation = Expectation {
            no_header: no_header.map(|header| header.map(|(name, _)| name)).collect::<Result<_, _>>()?,
            has_header: fields.all("has_header").into_iter().map(header).collect::<Result<_, _>>()?,
            headers: matchers(fields.all("headers"))?,
            body: matchers(fields.all("body"))?,
            immediate: fields.one("immediate")?.map(immediate).transpose()?,
            log: matchers(fields.all("log"))?,
        };
        fields.finish()?;
        Ok(expectation)
    }

    fn matcher(&self, field: Field) -> Result<Matcher, TextError> {
        let line = field.line;
        let wrong = |message: String| TextError { line, message };
        let mut fields = field.message()?;
        let invert = fields.or_default("invert", Field::bool)?;
        let exact = fields.one("exact")?.map(Field::bytes).transpose()?;
        let regex = fields.one("regex")?.map(Field::string).transpose()?;
        let file = fields.one("file")?.map(|file| self.file(file)).transpose()?;
        fields.finish()?;
        match (exact.or(file), regex) {
            (Some(exact), None) => Ok(Matcher::exact(exact, invert)),
            (None, Some(regex)) => Matcher::regex(&regex, invert).map_err(wrong),
            _ => Err(wrong("one of `exact`, `regex` and `file` is needed".to_owned())),
        }
    }

    fn file(&self, field: Field) -> Result<Vec<u8>, TextError> {
        let line = field.line;
        let path = self.folder.join(field.string()?);
        crate::files::bytes(&path, MAX_SUITE_BYTES).map_err(|error| TextError {
            line,
            message: format!("{} cannot be read: {error}", path.display()),
        })
    }
}

fn env_of(field: Field) -> Result<TextSuite, TextError> {
    let mut fields = field.message()?;
    let level = fields.one("log_level")?;
    let path = |field: Option<Field>| field.map(Field::string).transpose();
    let suite = TextSuite {
        plugin: path(fields.one("wasm_path")?)?.map(PathBuf::from),
        configuration: path(fields.one("config_path")?)?.map(PathBuf::from),
        log_level: level.map_or(Ok(LogLevel::Info), log_level)?,
        time: fields.one("time_secs")?.map(Field::number).transpose()?,
        ..TextSuite::default()
    };
    // The log is in the report; how many more streams there are is for benchmarks.
    fields.or_default("log_path", Field::string)?;
    fields.or_default("test_path", Field::string)?;
    fields.or_default("num_additional_streams", Field::number::<u64>)?;
    fields.or_default("additional_stream_advance_rate", Field::number::<u64>)?;
    fields.finish()?;
    Ok(suite)
}

fn log_level(field: Field) -> Result<LogLevel, TextError> {
    let line = field.line;
    Ok(match field.word()?.as_str() {
        "TRACE" => LogLevel::Trace,
        "DEBUG" => LogLevel::Debug,
        "UNDEFINED" | "INFO" => LogLevel::Info,
        "WARN" => LogLevel::Warn,
        "ERROR" => LogLevel::Error,
        "CRITICAL" => LogLevel::Critical,
        other => return Err(TextError { line, message: format!("`{other}` is no log level") }),
    })
}

fn chunking(fields: &mut Fields) -> Result<Option<Chunking>, TextError> {
    let count = fields.one("num_chunks")?;
    let size = fields.one("chunk_size")?;
    let positive = |field: Field| {
        let line = field.line;
        match field.number::<usize>()? {
            0 => Err(TextError { line, message: "0 chunks, or chunks of 0 bytes, are none".to_owned() }),
            number => Ok(number),
        }
    };
    match (count, size) {
        (None, None) => Ok(None),
        (Some(count), None) => positive(count).map(|count| Some(Chunking::Count(count))),
        (None, Some(size)) => positive(size).map(|size| Some(Chunking::Size(size))),
        (Some(_), Some(size)) => Err(size.wrong("give one of `num_chunks` and `chunk_size`".to_owned())),
    }
}

fn header(field: Field) -> Result<(String, Vec<u8>), TextError> {
    let mut fields = field.message()?;
    let header = (fields.or_default("key", Field::string)?, fields.or_default("value", Field::bytes)?);
    fields.finish()?;
    Ok(header)
}

fn property(field: Field) -> Result<(String, Vec<u8>), TextError> {
    let mut fields = field.message()?;
    let property = (fields.or_default("path", Field::string)?, fields.or_default("value", Field::bytes)?);
    fields.finish()?;
    Ok(property)
}

fn immediate(field: Field) -> Result<Immediate, TextError> {
    let mut fields = field.message()?;
    let immediate = Immediate {
        http_status: fields.one("http_status")?.map(Field::number).transpose()?,
        grpc_status: fields.one("grpc_status")?.map(Field::number).transpose()?,
        details: fields.one("details")?.map(Field::string).transpose()?,
    };
    fields.finish()?;
    Ok(immediate)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<TextSuite, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("body.data"), b"\xff1").unwrap();
        let file = folder.path().join("tests.textpb");
        std::fs::write(&file, text).unwrap();
        TextSuite::read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn a_suite_is_read_with_the_files_it_names() {
        let text = r#"
            env { log_level: WARN time_secs: 7 log_path: "/dev/stdout" wasm_path: "a.wasm" }
            test {
              name: "first" benchmark: true chunk_size: 2
              properties { path: "a.b" value: "\001" }
              plugin_init { log { regex: ".*started" } }
              request_headers { input { header { key: "A" value: "1" } } result { no_header { key: "B" } } }
              response_body { input { file: "body.data" } result { body { file: "body.data" } immediate { http_status: 403 } } }
            }
            test { name: "second" request_body { } request_body { } }"#;
        let suite = read(text).unwrap();
        assert_eq!(
            (suite.log_level, suite.time, suite.plugin),
            (LogLevel::Warn, Some(7), Some("a.wasm".into()))
        );
        let [first, second] = suite.tests.as_slice() else { unreachable!("two tests") };
        assert_eq!((first.name.as_str(), second.name.as_str()), ("first", "second"));
        assert_eq!(first.properties, [("a.b".to_owned(), vec![1])]);
        assert_eq!(first.response_body[0].input.content, b"\xff1");
        assert_eq!(first.response_body[0].result.immediate.as_ref().unwrap().http_status, Some(403));
        assert_eq!(first.request_headers.as_ref().unwrap().result.no_header, ["B"]);
        assert_eq!(second.request_body.len(), 2);
    }

    #[test]
    fn what_has_no_meaning_is_told_with_its_line() {
        for (text, expected) in [
            ("runtime { }", ":1: `runtime` is no field here"),
            ("test {\n nam: \"x\" }", ":2: `nam` is no field here"),
            ("test { name: \"x\"\n name: \"y\" }", ":2: `name` is there more than once"),
            ("test { name: 3 }", "`name` is no string in quotes"),
            ("env { log_level: LOUD }", "`LOUD` is no log level"),
            ("test { num_chunks: 2 request_body {} request_body {} }", "only where it is given once"),
            ("test { chunk_size: 0 }", "are none"),
            ("test { request_headers { result { log { } } } }", "one of `exact`, `regex` and `file`"),
            ("test { request_headers { result { log { regex: \"(\" } } } }", "`(`"),
            ("test { request_body { input { file: \"nowhere\" } } }", "nowhere cannot be read"),
            ("env { time_secs: -1 }", "-1 is out of range"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
