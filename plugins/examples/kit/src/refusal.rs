//! Answers of a policy's own.

use proxy_wasm::traits::HttpContext;
use serde::Serialize;

/// An answer in place of the upstream's, in the form of all the product's errors.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP status, 400 to 599.
    pub status: u32,
    /// For programs, in capitals.
    pub code: &'static str,
    /// For people. Must not repeat anything secret.
    pub message: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    success: bool,
    data: Option<()>,
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: &'a str,
    message: &'a str,
}

impl Refusal {
    /// A refusal with this status, code and message.
    pub fn new(status: u32, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// Sends it with these headers besides its content type. The caller then returns `Action::Pause`.
    pub fn send(&self, context: &dyn HttpContext, headers: &[(&str, &str)]) {
        let mut all = vec![("content-type", "application/json"), ("cache-control", "no-store")];
        all.extend_from_slice(headers);
        context.send_http_response(self.status, all, Some(&self.body()));
    }

    /// The JSON that is sent.
    pub fn body(&self) -> Vec<u8> {
        let error = Body { code: self.code, message: &self.message };
        // Strings and booleans always serialize.
        serde_json::to_vec(&Envelope { success: false, data: None, error }).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn the_body_is_the_product_s_envelope() {
        let refusal = Refusal::new(403, "NO", "say \"please\"");
        assert_eq!(
            refusal.body(),
            br#"{"success":false,"data":null,"error":{"code":"NO","message":"say \"please\""}}"#
        );
    }
}
