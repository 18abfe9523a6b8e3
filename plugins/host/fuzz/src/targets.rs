//! What is fuzzed. Each target is a whole host with a guest that takes the input to the code in question, as a hostile
//! plugin would.

mod calls;
mod modules;
mod oracle;
mod pairs;
mod properties;

/// One target. It panics where the host broke a rule.
pub(crate) trait Target {
    /// Runs one input.
    fn run(&mut self, input: &[u8]);

    /// What its inputs are made of.
    fn words(&self) -> &'static [&'static [u8]] {
        &[]
    }
}

/// All of them.
pub(crate) const NAMES: [&str; 4] = ["pairs", "properties", "calls", "modules"];

/// The target of that name.
pub(crate) fn new(name: &str) -> Option<Box<dyn Target>> {
    Some(match name {
        "pairs" => Box::new(pairs::Pairs::new()),
        "properties" => Box::new(properties::Properties::new()),
        "calls" => Box::new(calls::Calls::new()),
        "modules" => Box::new(modules::Modules::new()),
        _ => return None,
    })
}
