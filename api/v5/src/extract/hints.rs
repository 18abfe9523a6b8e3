//! What to write in place of a field that does not exist: clients of the old API send some in snake_case, some under
//! other names, and some that are not theirs to say.

/// Names under which fields were known elsewhere, in lower case without separators, and their right names. A right name
/// counts only where the operation has such a field.
const ALIASES: &[(&str, &str)] = &[
    ("body", "content"),
    ("config", "settings"),
    ("familyname", "lastName"),
    ("givenname", "firstName"),
    ("kind", "type"),
    ("label", "name"),
    ("mail", "email"),
    ("message", "content"),
    ("meta", "metadata"),
    ("name", "title"),
    ("path", "workspacePath"),
    ("preferences", "settings"),
    ("pwd", "password"),
    ("refresh", "refreshToken"),
    ("sessiontype", "type"),
    ("surname", "lastName"),
    ("text", "content"),
    ("title", "name"),
    ("token", "refreshToken"),
    ("user", "email"),
    ("username", "email"),
    ("workspace", "workspacePath"),
];

/// What the server knows from the token.
const FROM_THE_TOKEN: [&str; 6] =
    ["createdby", "ownerid", "primarytenantid", "tenantid", "userid", "tokenfamily"];
/// What the server decides.
const FROM_THE_SERVER: [&str; 6] = ["createdat", "id", "lastaccessedat", "status", "updatedat", "version"];

/// A better reason than serde's for an unknown field, if there is one: which field is meant.
pub(super) fn unknown_field(reason: &str) -> Option<String> {
    let (field, expected) = reason.strip_prefix("unknown field `")?.split_once('`')?;
    let plain = plain(field);
    // serde names the known fields in backticks, after its own words.
    let known = || expected.split('`').skip(1).step_by(2);
    let spelt = known().find(|name| self::plain(name) == plain);
    let alias = || ALIASES.iter().filter(|(wrong, _)| *wrong == plain).map(|(_, right)| *right);
    let meant = spelt.or_else(|| alias().find(|right| known().any(|name| name == *right)));
    let hint = if let Some(name) = meant {
        format!("the field is `{name}`")
    } else if FROM_THE_TOKEN.contains(&plain.as_str()) {
        "leave it out: the token says who you are".to_owned()
    } else if FROM_THE_SERVER.contains(&plain.as_str()) {
        "leave it out: the server sets it".to_owned()
    } else {
        return None;
    };
    Some(format!("unknown field `{field}`; {hint}"))
}

/// Why a parameter of the query is refused: those of this API are camelCase, and one that was ignored would give an answer
/// to another question. A name that begins with `_` is nobody's.
pub(super) fn snake_case(parameter: &str) -> Option<String> {
    if parameter.starts_with('_') || !parameter.contains('_') {
        return None;
    }
    let mut words = parameter.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut chars = word.chars();
        camel.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(chars.as_str());
    }
    Some(format!("unknown parameter; parameters are camelCase, such as `{camel}`"))
}

/// A name without what spellings differ in.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !"_-".contains(*c)).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_that_is_meant_is_named() {
        let session = "expected one of `name`, `workspacePath`, `type`, `settings`";
        for (field, expected, hint) in [
            ("workspace_path", session, "the field is `workspacePath`"),
            ("WorkspacePath", session, "the field is `workspacePath`"),
            ("session_type", session, "the field is `type`"),
            ("sessionType", session, "the field is `type`"),
            ("title", session, "the field is `name`"),
            ("tenant_id", session, "leave it out: the token says who you are"),
            ("createdAt", session, "leave it out: the server sets it"),
            ("refresh_token", "expected `refreshToken`", "the field is `refreshToken`"),
            ("username", "expected `email` or `password`", "the field is `email`"),
        ] {
            let reason = format!("unknown field `{field}`, {expected}");
            assert_eq!(unknown_field(&reason), Some(format!("unknown field `{field}`; {hint}")));
        }
        for reason in [
            "unknown field `color`, expected one of `name`, `type`",
            "unknown field `message`, expected `email` or `password`",
            "unknown field `x`, there are no fields",
            "missing field `name`",
        ] {
            assert_eq!(unknown_field(reason), None, "{reason}");
        }
    }

    #[test]
    fn parameters_in_snake_case_are_told_the_other_spelling() {
        let hint = snake_case("session_id");
        assert_eq!(hint.as_deref(), Some("unknown parameter; parameters are camelCase, such as `sessionId`"));
        assert!(snake_case("ä__é_").is_some());
        assert_eq!((snake_case("limit"), snake_case("_"), snake_case("")), (None, None, None));
    }
}
