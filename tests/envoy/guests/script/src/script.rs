//! The configuration as lines by callback.

/// What a callback is besides its name.
#[derive(Clone, Copy, Default)]
pub struct When {
    /// How often it was called for this stream, from 1.
    pub number: u32,
    /// Whether it is the last one.
    pub end: bool,
}

#[derive(Default)]
pub struct Script {
    sections: Vec<Section>,
}

struct Section {
    callback: String,
    condition: String,
    lines: Vec<String>,
}

impl Script {
    pub fn parse(text: &str) -> Self {
        let mut sections: Vec<Section> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(head) = line.strip_prefix('@') {
                let (callback, condition) = head.split_once(' ').unwrap_or((head, ""));
                let (callback, condition) = (callback.to_owned(), condition.to_owned());
                sections.push(Section { callback, condition, lines: Vec::new() });
            } else if let Some(section) = sections.last_mut() {
                section.lines.push(line.to_owned());
            }
        }
        Self { sections }
    }

    /// The lines to run for a callback, in their order.
    pub fn lines(&self, callback: &str, when: When) -> Vec<String> {
        let holds = |condition: &str| match condition {
            "" => true,
            "end" => when.end,
            "more" => !when.end,
            number => number.parse() == Ok(when.number),
        };
        let matching = |section: &&Section| section.callback == callback && holds(&section.condition);
        self.sections.iter().filter(matching).flat_map(|section| section.lines.clone()).collect()
    }
}
