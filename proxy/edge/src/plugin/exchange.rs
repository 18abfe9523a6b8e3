//! The exchange of `plugin run` and `plugin bench`: a case of a file, and what the arguments say beside it.

use super::args::ExchangeArgs;
use anyhow::{Context, anyhow, bail};
use coditect_plugin_tools::files;
use coditect_plugin_tools::suite::{
    Case, MAX_SUITE_BYTES, PluginSettings, PropertyValue, Suite, field_name, field_value,
};

/// The case, and the settings of the file it is from.
pub(super) fn case(given: &ExchangeArgs) -> anyhow::Result<(PluginSettings, Case)> {
    let (mut settings, mut case) = match &given.case {
        None => (PluginSettings::default(), Case::default()),
        Some(file) => {
            let suite = Suite::read(file)?;
            let chosen = |case: &&Case| given.name.as_ref().is_none_or(|name| case.name == *name);
            let case = suite.cases.iter().find(chosen).cloned();
            let case = case.with_context(|| match &given.name {
                Some(name) => format!("{} has no case `{name}`", file.display()),
                None => format!("{} has no case", file.display()),
            })?;
            (suite.settings, case)
        }
    };
    if let Some(configuration) = case.configuration.take() {
        settings.configuration = configuration;
    }
    request(given, &mut case)?;
    response(given, &mut case)?;
    if let Some(tenant) = &given.tenant {
        case.tenant = Some(tenant.clone());
    }
    for property in &given.property {
        case.properties.push(property_of(property)?);
    }
    Ok((settings, case))
}

fn request(given: &ExchangeArgs, case: &mut Case) -> anyhow::Result<()> {
    let request = &mut case.request;
    if let Some(line) = &given.request {
        let parts: Vec<&str> = line.split_whitespace().collect();
        let [method, path] = parts.as_slice() else {
            bail!("--request {line:?} is no method and path, such as 'GET /x?y=1'");
        };
        if !path.starts_with('/') {
            bail!("--request {line:?}: the path begins with /; --authority names the host");
        }
        (request.method, request.path) = ((*method).to_owned(), (*path).to_owned());
    }
    if let Some(authority) = &given.authority {
        request.authority.clone_from(authority);
    }
    for header in &given.header {
        request.headers.0.push(header_of("--header", header)?);
    }
    if let Some(body) = &given.body {
        request.chunks = vec![body.clone().into()];
    }
    if let Some(file) = &given.body_file {
        let body = files::bytes(file, MAX_SUITE_BYTES);
        let body = body.with_context(|| format!("the body {}", file.display()))?;
        request.chunks = vec![body.into()];
    }
    request.chunks.retain(|chunk| !chunk.is_empty());
    Ok(())
}

fn response(given: &ExchangeArgs, case: &mut Case) -> anyhow::Result<()> {
    let response = &mut case.response;
    if let Some(status) = given.status {
        response.status = status;
    }
    for header in &given.response_header {
        response.headers.0.push(header_of("--response-header", header)?);
    }
    if let Some(body) = &given.response_body {
        response.chunks = vec![body.clone().into()];
    }
    response.chunks.retain(|chunk| !chunk.is_empty());
    Ok(())
}

fn header_of(flag: &str, text: &str) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let parts = text.split_once(':').filter(|(name, _)| !name.is_empty());
    let (name, value) = parts.with_context(|| format!("{flag} {text:?} is not as in 'name: value'"))?;
    let wrong = |problem: String| anyhow!("{flag}: {problem}");
    Ok((field_name(name.trim()).map_err(wrong)?, field_value(value.trim()).map_err(wrong)?))
}

fn property_of(text: &str) -> anyhow::Result<(String, PropertyValue)> {
    let parts = text.split_once('=').filter(|(path, _)| !path.is_empty());
    let (path, value) = parts.with_context(|| format!("--property {text:?} is not as in path=value"))?;
    let typed = match value.split_once(':') {
        Some(("int", number)) => PropertyValue::int(
            number.parse().with_context(|| format!("--property {text:?}: {number:?} is no integer"))?,
        ),
        Some(("bool", truth)) => PropertyValue::bool(
            truth
                .parse()
                .with_context(|| format!("--property {text:?}: {truth:?} is neither true nor false"))?,
        ),
        _ => PropertyValue::text(value),
    };
    Ok((path.to_owned(), typed))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn headers_and_properties_are_read_as_written() {
        let header = |text: &str| header_of("--header", text);
        assert_eq!(header("X-A: b: c").unwrap(), (b"x-a".to_vec(), b"b: c".to_vec()));
        assert!(header("x-a").unwrap_err().to_string().contains("name: value"));
        assert!(header(":path: /").is_err() && header("a b: c").is_err() && header("a: b\nc: d").is_err());
        let property = |text: &str| property_of(text).map(|(_, value)| value);
        assert_eq!(property("source.address=1.2.3.4:5").unwrap(), PropertyValue::text("1.2.3.4:5"));
        assert_eq!(property("source.port=int:5").unwrap(), PropertyValue::int(5));
        assert_eq!(property("connection.mtls=bool:true").unwrap(), PropertyValue::bool(true));
        assert!(property("x=int:y").is_err() && property("x").is_err() && property("=y").is_err());
    }
}
