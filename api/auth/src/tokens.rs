//! Minting and verifying tokens.
//!
//! Every token is a JWT signed with one of the [`TokenKeys`]; its audience says what it is for, so that none can be used
//! in another's place: access tokens (`aud` from the configuration), refresh tokens, tickets, workspace passes and the
//! pointer to the workspace last opened. A refresh token is a function of its auth session and the key that signs, so
//! one whose answer was lost can be given again without having been kept.

use crate::tickets::TICKET_AUDIENCE;
use crate::token_keys::{TokenKeys, Validity};
use crate::workspace::{LastWorkspace, WorkspacePass};
use crate::{AuthError, AuthSession, Claims, Entropy, Identity, SigningSecret};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// The audience of refresh tokens.
const REFRESH_AUDIENCE: &str = "coditect-refresh";
/// The audience of the cookie that opens one workspace.
const WORKSPACE_AUDIENCE: &str = "coditect-workspace";
/// The audience of the cookie that remembers which workspace was opened last. It opens nothing.
const LAST_WORKSPACE_AUDIENCE: &str = "coditect-last-workspace";
/// Longer strings are not tokens of ours; they are refused before any cryptography.
const MAX_TOKEN_BYTES: usize = 4096;

/// What goes into every token, from the configuration.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// The claim `iss` of every token.
    pub issuer: String,
    /// The claim `aud` of access tokens.
    pub audience: String,
    /// How long an access token is valid, in seconds.
    pub access_seconds: i64,
}

/// An access token and how long it is valid.
#[derive(Debug, Clone)]
pub struct IssuedToken {
    /// The JWT. A secret: never logged.
    pub token: String,
    /// Seconds from now.
    pub expires_in: i64,
}

/// What a refresh token says.
#[derive(Serialize, Deserialize)]
struct RefreshClaims {
    session_id: Uuid,
    token_family: Uuid,
    iat: i64,
    exp: i64,
    iss: String,
    aud: String,
}

/// Mints tokens.
pub struct TokenIssuer {
    keys: Arc<TokenKeys>,
    verifier: TokenVerifier,
    settings: TokenSettings,
    entropy: Arc<dyn Entropy>,
}

impl TokenIssuer {
    /// An issuer that signs with `secret`.
    pub fn new(secret: &SigningSecret, settings: TokenSettings, entropy: Arc<dyn Entropy>) -> Self {
        Self::with_keys(Arc::new(TokenKeys::secret(secret)), settings, entropy)
    }

    /// An issuer that signs with whichever of `keys` is to sign at that moment.
    pub fn with_keys(keys: Arc<TokenKeys>, settings: TokenSettings, entropy: Arc<dyn Entropy>) -> Self {
        Self { verifier: TokenVerifier::with_keys(Arc::clone(&keys), &settings), keys, settings, entropy }
    }

    /// An access token for a stored auth session. It never outlives its family.
    ///
    /// # Errors
    /// [`AuthError::Unavailable`] where signing fails, which no input can cause.
    pub fn access(&self, session: &AuthSession, now: i64) -> Result<IssuedToken, AuthError> {
        let exp = now.saturating_add(self.settings.access_seconds).min(session.family_ends_at);
        let claims = Claims::of(
            session,
            self.entropy.uuid(),
            now,
            exp,
            &self.settings.issuer,
            &self.settings.audience,
        );
        Ok(IssuedToken { token: self.sign(&claims)?, expires_in: exp - now })
    }

    /// The refresh token of a stored auth session: the same one each time, until another key signs.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub fn refresh(&self, session: &AuthSession) -> Result<String, AuthError> {
        self.sign(&RefreshClaims {
            session_id: session.id,
            token_family: session.family,
            iat: session.created_at,
            exp: session.family_ends_at,
            iss: self.settings.issuer.clone(),
            aud: REFRESH_AUDIENCE.to_owned(),
        })
    }

    /// The id of the auth session a refresh token stands for. Whether it may still be used is for
    /// [`crate::judge_refresh`] to say.
    ///
    /// # Errors
    /// [`AuthError::InvalidToken`] for anything this issuer did not sign as a refresh token.
    pub fn parse_refresh(&self, token: &str) -> Result<Uuid, AuthError> {
        let verifier = &self.verifier;
        let (claims, _): (RefreshClaims, _) = verifier.decode(token, &verifier.refresh, self.keys.now())?;
        Ok(claims.session_id)
    }

    /// The value of the cookie that opens `workspace` for as long as the caller's family lives.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub fn workspace_pass(&self, caller: &Identity, workspace: Uuid) -> Result<String, AuthError> {
        self.sign(&WorkspacePass { claims: self.for_family(caller, WORKSPACE_AUDIENCE), workspace })
    }

    /// The value of the cookie that remembers `workspace` as the one last opened.
    ///
    /// # Errors
    /// As [`access`](Self::access).
    pub fn last_workspace(&self, caller: &Identity, workspace: Uuid) -> Result<String, AuthError> {
        self.sign(&LastWorkspace { claims: self.for_family(caller, LAST_WORKSPACE_AUDIENCE), workspace })
    }

    /// The caller's claims for another use, for as long as their family lives.
    pub(crate) fn for_family(&self, caller: &Identity, audience: &str) -> Claims {
        let mut claims = Claims::clone(&caller.claims);
        claims.exp = caller.family.ends_at();
        claims.aud = audience.to_owned();
        claims.jti = self.entropy.uuid();
        claims
    }

    pub(crate) fn sign(&self, claims: &impl Serialize) -> Result<String, AuthError> {
        self.keys.sign(claims)
    }
}

/// Verifies tokens. Cheap to clone.
#[derive(Clone)]
pub struct TokenVerifier {
    keys: Arc<TokenKeys>,
    access: Arc<Validation>,
    refresh: Arc<Validation>,
    workspace: Arc<Validation>,
    last_workspace: Arc<Validation>,
    pub(crate) ticket: Arc<Validation>,
}

/// An access token that was found good, to be remembered in place of another look at its signature.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    /// What it says.
    pub claims: Arc<Claims>,
    validity: Validity,
}

impl TokenVerifier {
    /// A verifier of what [`TokenIssuer`] signs with the same secret and settings.
    pub fn new(secret: &SigningSecret, settings: &TokenSettings) -> Self {
        Self::with_keys(Arc::new(TokenKeys::secret(secret)), settings)
    }

    /// A verifier of what [`TokenIssuer`] signs with the same keys and settings.
    pub fn with_keys(keys: Arc<TokenKeys>, settings: &TokenSettings) -> Self {
        let validation = |audience: &str| {
            let mut validation = Validation::new(Algorithm::HS256);
            // The algorithm is that of the key, in `decode`: without one nothing can pass.
            validation.algorithms.clear();
            validation.set_issuer(&[&settings.issuer]);
            validation.set_audience(&[audience]);
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            // Expiry is checked by us, against the clock that was passed in, and without leeway.
            validation.validate_exp = false;
            Arc::new(validation)
        };
        Self {
            keys,
            access: validation(&settings.audience),
            refresh: validation(REFRESH_AUDIENCE),
            workspace: validation(WORKSPACE_AUDIENCE),
            last_workspace: validation(LAST_WORKSPACE_AUDIENCE),
            ticket: validation(TICKET_AUDIENCE),
        }
    }

    /// What others verify our tokens with, as a JWK set; `None` where they are signed with a secret.
    pub fn public_keys(&self) -> Option<String> {
        self.keys.public()
    }

    /// The claims of an access token.
    ///
    /// # Errors
    /// [`AuthError::InvalidToken`], or [`AuthError::TokenExpired`] from the second `exp` on.
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, AuthError> {
        let (claims, _): (Claims, _) = self.decode(token, &self.access, now)?;
        unexpired(claims.exp, now)?;
        Ok(claims)
    }

    /// As [`verify`](Self::verify), for a caller who remembers the answer and asks [`holds`](Self::holds) of it.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn examine(&self, token: &str, now: i64) -> Result<VerifiedToken, AuthError> {
        let (claims, validity): (Claims, _) = self.decode(token, &self.access, now)?;
        unexpired(claims.exp, now)?;
        Ok(VerifiedToken { claims: Arc::new(claims), validity })
    }

    /// Whether a token that was found good still is at `now` (Unix seconds): it has not expired, and its key is neither
    /// gone nor were the keys changed.
    pub fn holds(&self, verified: &VerifiedToken, now: i64) -> bool {
        now < verified.claims.exp && self.keys.holds(verified.validity, now)
    }

    /// What a workspace cookie opens.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_workspace_pass(&self, token: &str, now: i64) -> Result<WorkspacePass, AuthError> {
        let (pass, _): (WorkspacePass, _) = self.decode(token, &self.workspace, now)?;
        unexpired(pass.claims.exp, now)?;
        Ok(pass)
    }

    /// Which workspace was opened last, and by whom.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_last_workspace(&self, token: &str, now: i64) -> Result<LastWorkspace, AuthError> {
        let (last, _): (LastWorkspace, _) = self.decode(token, &self.last_workspace, now)?;
        unexpired(last.claims.exp, now)?;
        Ok(last)
    }

    /// The claims of a token for one use, and how long its signature stays good.
    pub(crate) fn decode<T: DeserializeOwned>(
        &self,
        token: &str,
        validation: &Validation,
        now: i64,
    ) -> Result<(T, Validity), AuthError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AuthError::InvalidToken);
        }
        let header = decode_header(token).map_err(|_| AuthError::InvalidToken)?;
        let verifying = self.keys.verifying(&header, now)?;
        let mut validation = validation.clone();
        validation.algorithms = vec![verifying.algorithm];
        let data = decode(token, &verifying.key, &validation).map_err(|_| AuthError::InvalidToken)?;
        Ok((data.claims, verifying.validity))
    }
}

pub(crate) fn unexpired(exp: i64, now: i64) -> Result<(), AuthError> {
    if now < exp { Ok(()) } else { Err(AuthError::TokenExpired) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::SeededEntropy;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use secrecy::SecretString;

    fn secret(fill: &str) -> SigningSecret {
        SigningSecret::new(SecretString::from(fill.repeat(32))).unwrap()
    }

    fn issuer(fill: &str, audience: &str) -> TokenIssuer {
        let settings =
            TokenSettings { issuer: "coditect.ai".into(), audience: audience.into(), access_seconds: 3600 };
        TokenIssuer::new(&secret(fill), settings, Arc::new(SeededEntropy::new(1)))
    }

    fn session() -> AuthSession {
        AuthSession {
            id: Uuid::from_u128(1),
            family: Uuid::from_u128(2),
            user_id: Uuid::from_u128(3),
            tenant_id: Uuid::from_u128(4),
            email: "a@example.com".into(),
            created_at: 1000,
            family_ends_at: 100_000,
            rotated: None,
            user_agent: None,
            address: None,
        }
    }

    #[test]
    fn an_access_token_carries_its_session_and_family() {
        let issuer = issuer("a", "users");
        let issued = issuer.access(&session(), 1000).unwrap();
        assert_eq!(issued.expires_in, 3600);
        let claims = issuer.verifier.verify(&issued.token, 4599).unwrap();
        assert_eq!(
            (claims.sub, claims.tenant_id, claims.session_id, claims.token_family),
            (Uuid::from_u128(3), Uuid::from_u128(4), Uuid::from_u128(1), Uuid::from_u128(2)),
        );
        assert_eq!((claims.iat, claims.exp, claims.iss.as_str()), (1000, 4600, "coditect.ai"));
        assert_eq!(issuer.verifier.verify(&issued.token, 4600), Err(AuthError::TokenExpired));
    }

    #[test]
    fn an_access_token_never_outlives_its_family() {
        let issued = issuer("a", "users").access(&session(), 99_000).unwrap();
        assert_eq!(issued.expires_in, 1000);
    }

    #[test]
    fn another_key_algorithm_audience_or_issuer_is_refused() {
        let ours = issuer("a", "users");
        let verify = |token: &str| ours.verifier.verify(token, 1001);
        assert_eq!(
            verify(&issuer("b", "users").access(&session(), 1000).unwrap().token),
            Err(AuthError::InvalidToken)
        );
        assert_eq!(
            verify(&issuer("a", "other").access(&session(), 1000).unwrap().token),
            Err(AuthError::InvalidToken)
        );

        let good = ours.access(&session(), 1000).unwrap().token;
        let payload = good.split('.').nth(1).unwrap();
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert_eq!(verify(&format!("{none}.{payload}.")), Err(AuthError::InvalidToken));
        let hs512 = encode(
            &Header::new(Algorithm::HS512),
            &Claims::of(&session(), Uuid::nil(), 1000, 2000, "coditect.ai", "users"),
            &EncodingKey::from_secret(secret("a").bytes()),
        );
        assert_eq!(verify(&hs512.unwrap()), Err(AuthError::InvalidToken));
        for junk in ["", ".", "..", "a.b.c", &"x".repeat(10_000)] {
            assert_eq!(verify(junk), Err(AuthError::InvalidToken), "{junk:.20}");
        }
        verify(&good).unwrap();
    }

    #[test]
    fn a_refresh_token_is_stable_and_of_no_other_use() {
        let issuer = issuer("a", "users");
        let token = issuer.refresh(&session()).unwrap();
        assert_eq!(token, issuer.refresh(&session()).unwrap());
        assert_eq!(issuer.parse_refresh(&token), Ok(session().id));
        assert_eq!(issuer.verifier.verify(&token, 1000), Err(AuthError::InvalidToken));
        let access = issuer.access(&session(), 1000).unwrap().token;
        assert_eq!(issuer.parse_refresh(&access), Err(AuthError::InvalidToken));
    }
}
