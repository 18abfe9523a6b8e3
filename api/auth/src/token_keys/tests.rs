//! Tests of tokens under key sets: rotation, retirement, migration, and no way for a token to choose its algorithm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::{
    AuthSession, Claims, KeyAlgorithm, KeyRotation, ManualClock, SeededEntropy, TokenIssuer, TokenSettings,
    TokenVerifier,
};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Validation, decode, decode_header};
use secrecy::SecretString;
use uuid::Uuid;

const NOW: i64 = 1_000_000;
const FAMILY: i64 = 86_400;

struct Scene {
    clock: Arc<ManualClock>,
    keys: Arc<TokenKeys>,
    issuer: TokenIssuer,
    verifier: TokenVerifier,
}

fn secret() -> SigningSecret {
    SigningSecret::new(SecretString::from("s".repeat(32))).unwrap()
}

fn settings() -> TokenSettings {
    TokenSettings { issuer: "coditect.ai".into(), audience: "users".into(), access_seconds: 3600 }
}

fn key_set(seed: u64) -> KeySet {
    KeySet::generate(KeyAlgorithm::EdDSA, NOW, &SeededEntropy::new(seed)).unwrap()
}

fn session() -> AuthSession {
    AuthSession {
        id: Uuid::from_u128(1),
        family: Uuid::from_u128(2),
        user_id: Uuid::from_u128(3),
        tenant_id: Uuid::from_u128(4),
        email: "a@example.com".into(),
        created_at: NOW,
        family_ends_at: NOW + FAMILY,
        rotated: None,
        user_agent: None,
        address: None,
    }
}

impl Scene {
    fn with(set: KeySet, former: Option<&SigningSecret>) -> Self {
        let clock = Arc::new(ManualClock::new(NOW));
        let keys = Arc::new(TokenKeys::set(set, former, clock.clone()));
        let issuer = TokenIssuer::with_keys(Arc::clone(&keys), settings(), Arc::new(SeededEntropy::new(7)));
        Self { clock, verifier: TokenVerifier::with_keys(Arc::clone(&keys), &settings()), keys, issuer }
    }

    fn access(&self) -> String {
        self.issuer.access(&session(), self.clock.now()).unwrap().token
    }

    fn verify(&self, token: &str) -> Result<Claims, AuthError> {
        self.verifier.verify(token, self.clock.now())
    }

    fn claims(&self) -> Claims {
        let now = self.clock.now();
        Claims::of(&session(), Uuid::nil(), now, now + 60, "coditect.ai", "users")
    }
}

/// Verifies as another service does, from the published set alone.
fn verify_as_others_do(jwks: &str, token: &str) -> Option<Claims> {
    let set: JwkSet = serde_json::from_str(jwks).unwrap();
    let header = decode_header(token).unwrap();
    let jwk = set.find(header.kid.as_deref()?)?;
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["users"]);
    validation.validate_exp = false;
    assert_eq!(jwk.common.key_algorithm.unwrap().to_string(), format!("{:?}", header.alg));
    decode(token, &DecodingKey::from_jwk(jwk).unwrap(), &validation).ok().map(|data| data.claims)
}

#[test]
fn tokens_name_their_key_and_verify_against_the_published_set() {
    for algorithm in [KeyAlgorithm::EdDSA, KeyAlgorithm::RS256] {
        let scene = Scene::with(KeySet::generate(algorithm, NOW, &SeededEntropy::new(3)).unwrap(), None);
        let token = scene.access();
        let header = decode_header(&token).unwrap();
        assert_eq!((header.kid, header.alg), (scene.keys.signing_kid(), algorithm.of_tokens()));
        let claims = scene.verify(&token).unwrap();
        assert_eq!(verify_as_others_do(&scene.keys.public().unwrap(), &token), Some(claims));
        let refresh = scene.issuer.refresh(&session()).unwrap();
        assert_eq!(refresh, scene.issuer.refresh(&session()).unwrap());
        assert_eq!(scene.issuer.parse_refresh(&refresh), Ok(session().id));
    }
    assert_eq!(TokenKeys::secret(&secret()).public(), None, "a secret is not for others");
}

#[test]
fn a_rotation_ends_no_login() {
    let mut set = key_set(1);
    let scene = Scene::with(set.clone(), None);
    let (old, refresh) = (scene.access(), scene.issuer.refresh(&session()).unwrap());
    let rotation = KeyRotation { algorithm: KeyAlgorithm::RS256, activate_after: 600, overlap: FAMILY };
    let kid = set.rotate(rotation, NOW, &SeededEntropy::new(2)).unwrap();
    scene.keys.replace(set);
    scene.clock.advance(599);
    assert_ne!(scene.keys.signing_kid().unwrap(), kid);
    scene.clock.advance(1);
    assert_eq!(scene.keys.signing_kid().unwrap(), kid);
    let new = scene.access();
    let jwks = scene.keys.public().unwrap();
    for token in [&old, &new] {
        scene.verify(token).unwrap();
        assert!(verify_as_others_do(&jwks, token).is_some());
    }
    // To the last second of the family that the old key's refresh token is of.
    scene.clock.advance(FAMILY - 600 - 1);
    assert_eq!(scene.issuer.parse_refresh(&refresh), Ok(session().id));
    // And when the overlap is over, not for another.
    scene.clock.advance(600 + 1);
    assert_eq!(scene.issuer.parse_refresh(&refresh), Err(AuthError::InvalidToken));
    assert!(verify_as_others_do(&scene.keys.public().unwrap(), &old).is_none(), "it is published no longer");
}

#[test]
fn what_was_found_good_does_not_outlive_its_key() {
    let mut set = key_set(1);
    let scene = Scene::with(set.clone(), None);
    let token = scene.access();
    let remembered = scene.verifier.examine(&token, NOW).unwrap();
    assert!(scene.verifier.holds(&remembered, NOW + 3599));
    assert!(!scene.verifier.holds(&remembered, NOW + 3600), "it expires");

    // A key whose overlap is shorter than its tokens live.
    let rotation = KeyRotation { algorithm: KeyAlgorithm::EdDSA, activate_after: 10, overlap: 20 };
    set.rotate(rotation, NOW, &SeededEntropy::new(2)).unwrap();
    scene.keys.replace(set.clone());
    assert!(!scene.verifier.holds(&remembered, NOW), "the keys were changed: look again");
    let remembered = scene.verifier.examine(&token, NOW).unwrap();
    assert!(scene.verifier.holds(&remembered, NOW + 29) && !scene.verifier.holds(&remembered, NOW + 30));

    let kid = scene.keys.signing_kid().unwrap();
    set.retire(&kid, NOW, &SeededEntropy::new(3)).unwrap();
    scene.keys.replace(set);
    assert!(!scene.verifier.holds(&remembered, NOW));
    assert_eq!(scene.verify(&token), Err(AuthError::InvalidToken), "refused at once");
    scene.verify(&scene.access()).unwrap();
}

#[test]
fn tokens_of_the_secret_are_good_while_it_is_configured() {
    let before = TokenIssuer::new(&secret(), settings(), Arc::new(SeededEntropy::new(7)));
    let token = before.access(&session(), NOW).unwrap().token;
    let refresh = before.refresh(&session()).unwrap();
    assert_eq!(decode_header(&token).unwrap().kid, None);

    let migrating = Scene::with(key_set(1), Some(&secret()));
    migrating.verify(&token).unwrap();
    assert_eq!(migrating.issuer.parse_refresh(&refresh), Ok(session().id));
    assert!(decode_header(migrating.access()).unwrap().kid.is_some(), "the set signs");
    migrating.keys.replace(key_set(2));
    migrating.verify(&token).unwrap();

    let migrated = Scene::with(key_set(1), None);
    assert_eq!(migrated.verify(&token), Err(AuthError::InvalidToken));
    assert_eq!(migrated.issuer.parse_refresh(&refresh), Err(AuthError::InvalidToken));
}

#[test]
fn a_token_cannot_choose_how_it_is_verified() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let set = key_set(1);
    let scene = Scene::with(set.clone(), Some(&secret()));
    let (kid, claims) = (scene.keys.signing_kid().unwrap(), scene.claims());
    let forge = |alg: Algorithm, kid: Option<&str>, key: &EncodingKey| {
        let mut header = Header::new(alg);
        header.kid = kid.map(str::to_owned);
        encode(&header, &claims, key).unwrap()
    };
    let hmac = |bytes: &[u8]| EncodingKey::from_secret(bytes);
    let jwks = scene.keys.public().unwrap();
    let public =
        URL_SAFE_NO_PAD.decode(jwks.split("\"x\":\"").nth(1).unwrap().split('"').next().unwrap()).unwrap();
    let (secret_key, ours) = (hmac(secret().bytes()), set.signing(NOW).signing());
    let foreign = key_set(9);
    let foreign_key = foreign.signing(NOW);
    let good = scene.access();
    let mut parts = good.split('.');
    let (_, payload, signature) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
    let with_header =
        |header: &str, signature: &str| format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header));
    for (what, token) in [
        ("HS256 with the public key as its secret", forge(Algorithm::HS256, Some(&kid), &hmac(&public))),
        (
            "HS256 with the published set as its secret",
            forge(Algorithm::HS256, Some(&kid), &hmac(jwks.as_bytes())),
        ),
        ("HS256 with the key's id as its secret", forge(Algorithm::HS256, Some(&kid), &hmac(kid.as_bytes()))),
        ("the public key as a secret, without an id", forge(Algorithm::HS256, None, &hmac(&public))),
        ("the real secret under a key's id", forge(Algorithm::HS256, Some(&kid), &secret_key)),
        ("the real secret under an id of its own", forge(Algorithm::HS256, Some("secret"), &secret_key)),
        ("the real secret with another hash", forge(Algorithm::HS384, None, &secret_key)),
        ("our key without an id", forge(Algorithm::EdDSA, None, ours)),
        ("our key under another id", forge(Algorithm::EdDSA, Some(foreign_key.kid()), ours)),
        ("our key under an empty id", forge(Algorithm::EdDSA, Some(""), ours)),
        ("a foreign key under our id", forge(Algorithm::EdDSA, Some(&kid), foreign_key.signing())),
        (
            "a foreign key under its own id",
            forge(Algorithm::EdDSA, Some(foreign_key.kid()), foreign_key.signing()),
        ),
        ("no signature", with_header(&format!(r#"{{"alg":"none","kid":"{kid}"}}"#), "")),
        ("no signature, no id", with_header(r#"{"alg":"none"}"#, "")),
        ("an algorithm nobody knows", with_header(&format!(r#"{{"alg":"ES512","kid":"{kid}"}}"#), signature)),
        (
            "another algorithm of our key",
            with_header(&format!(r#"{{"alg":"RS256","kid":"{kid}"}}"#), signature),
        ),
        ("a changed header", with_header(&format!(r#"{{"alg":"EdDSA","kid":"{kid}","x":1}}"#), signature)),
        ("a signature that was cut", good[..good.len() - 4].to_owned()),
    ] {
        assert_eq!(scene.verify(&token), Err(AuthError::InvalidToken), "{what}");
    }
    scene.verify(&good).unwrap();
    scene.verify(&forge(Algorithm::HS256, None, &secret_key)).unwrap();
}
