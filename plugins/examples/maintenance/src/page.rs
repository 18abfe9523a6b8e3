//! The page. It loads nothing, so that it works while everything else does not.

/// The page with this message, which is text and not markup.
pub fn render(message: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Maintenance</title>\n\
         <style>body {{ font: 1.1em/1.5 system-ui, sans-serif; max-width: 34em; margin: 20vh auto; padding: 0 1em }}</style>\n\
         <h1>Maintenance</h1>\n<p>{}</p>\n</html>\n",
        escape(message)
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_message_cannot_be_markup() {
        let page = super::render("<b>Tom & \"Jerry's\"</b>");
        assert!(page.contains("<p>&lt;b&gt;Tom &amp; &quot;Jerry&#39;s&quot;&lt;/b&gt;</p>"), "{page}");
    }
}
