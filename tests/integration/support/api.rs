//! Users and workspaces, made through the API as the front end makes them.

use super::{Edge, Request, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The password of every account made here.
pub const PASSWORD: &str = "correct horse battery staple";

/// A user who is signed in.
#[derive(Debug, Clone)]
pub struct Account {
    /// Their address.
    pub email: String,
    /// Their access token.
    pub token: String,
    /// Their refresh token.
    pub refresh_token: String,
    /// Their id.
    pub user_id: String,
    /// Their tenant.
    pub tenant_id: String,
}

impl Account {
    fn of(email: &str, data: &Value) -> Self {
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let token = text(&data["token"]);
        let claims = claims(&token);
        Self {
            email: email.to_owned(),
            refresh_token: text(&data["refresh_token"]),
            user_id: text(&claims["sub"]),
            tenant_id: text(&claims["tenant_id"]),
            token,
        }
    }
}

/// The claims of a token, unverified.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

impl Edge {
    /// Registers a user.
    pub async fn register(&self, email: &str) -> Account {
        let body = json!({ "email": email, "password": PASSWORD, "firstName": "Ada", "lastName": "L" });
        let answer = self.send(Request::post("/api/v5/auth/register", &body)).await;
        Account::of(email, &answer.data(201))
    }

    /// Signs a user in once more.
    pub async fn login(&self, email: &str) -> Account {
        let body = json!({ "email": email, "password": PASSWORD });
        let answer = self.send(Request::post("/api/v5/auth/login", &body)).await;
        Account::of(email, &answer.data(200))
    }

    /// Signs this login out.
    pub async fn logout(&self, account: &Account) {
        let answer = self.send(Request::new("POST", "/api/v5/auth/logout").bearer(&account.token)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// Makes a workspace and gives its id.
    pub async fn create_session(&self, account: &Account, name: &str) -> String {
        let request = Request::post("/api/v5/sessions", &json!({ "name": name, "type": "theia" }));
        let data = self.send(request.bearer(&account.token)).await.data(201);
        data["id"].as_str().expect("an id").to_owned()
    }

    /// `GET` with the account's token.
    pub async fn get_as(&self, account: &Account, target: &str) -> Response {
        self.send(Request::get(target).bearer(&account.token)).await
    }

    /// The link that opens a workspace.
    pub fn link(account: &Account, workspace: &str) -> String {
        format!("/theia/?token={}&sessionId={workspace}", account.token)
    }

    /// Opens a workspace and gives the cookie that stands for it, as `name=value`.
    pub async fn open_workspace(&self, account: &Account, workspace: &str) -> String {
        let answer = self.get(&Self::link(account, workspace)).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        let (value, _) = answer.set_cookie("coditect-workspace").expect("the workspace's cookie");
        format!("coditect-workspace={value}")
    }

    /// Makes a terminal of a workspace and gives the target its socket attaches to.
    pub async fn create_terminal(&self, account: &Account, workspace: &str) -> String {
        let target = format!("/api/v5/sessions/{workspace}/terminals");
        let request = Request::post(&target, &json!({ "cols": 80, "rows": 24 }));
        let data = self.send(request.bearer(&account.token)).await.data(201);
        format!("{target}/{}/attach", data["id"].as_str().expect("an id"))
    }
}
