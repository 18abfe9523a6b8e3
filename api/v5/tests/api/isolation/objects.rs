//! Objects for the ids in paths: each is made by the operation that creates its kind, or as said here.

use axum::body::Body;
use coditect_store::records::{FIRST_VERSION, Role, User};
use http::{Method, Request};
use serde_json::{Value, json};
use uuid::Uuid;

use super::requests::{FILE, NAMES, Operation, operations};
use super::schemas::Maker;
use crate::support::Api;

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One user's: for the others of the tenant it is not there either.
    User,
    /// A tenant's.
    Tenant,
    /// It is no object but a name that each caller has for their own, such as a setting's key.
    Name,
}

/// Whose the objects of a collection are. A collection below an object is whose that object is.
const SCOPES: [(&str, Scope); 5] = [
    ("/sessions", Scope::User),
    ("/conversations", Scope::User),
    ("/auth/sessions", Scope::User),
    ("/users", Scope::Tenant),
    ("/agents", Scope::Tenant),
];
/// Collections in which a login appears by logging in.
const LISTED: &[&str] = &["/auth/sessions"];
/// A signed-in user.
pub(crate) struct Owner {
    pub(crate) email: String,
    pub(crate) token: String,
    pub(crate) tenant: Uuid,
}

impl Owner {
    /// With a tenant of their own.
    pub(crate) async fn register(api: &Api, email: &str) -> Self {
        Self::of(email, api.register(email).await.data())
    }

    fn of(email: &str, login: &Value) -> Self {
        let tenant = login["user"]["tenant_id"].as_str().unwrap().parse().unwrap();
        Self { email: email.to_owned(), token: login["token"].as_str().unwrap().to_owned(), tenant }
    }

    /// Another user of the same tenant, who may do what members may.
    pub(crate) async fn member(&self, api: &Api, email: &str) -> Self {
        let users = api.repositories.users();
        let owner = users.by_email(&self.email).await.unwrap().unwrap();
        let member = User {
            id: Uuid::from_u128(0xb0b),
            email: email.to_owned(),
            role: Role::Member,
            version: FIRST_VERSION,
            ..owner
        };
        users.add(coditect_store::By::Operator, &member).await.unwrap();
        Self { email: email.to_owned(), token: String::new(), tenant: self.tenant }.login(api).await
    }

    async fn login(&self, api: &Api) -> Self {
        let login = json!({"email": self.email, "password": "correct horse"});
        let answer = api.post("/api/v5/auth/login", None, login).await;
        Self::of(&self.email, answer.data())
    }
}

/// The objects an operation's path names.
pub(crate) struct Place {
    pub(crate) path: String,
    pub(crate) scope: Scope,
    /// Makes what is sent there new.
    pub(crate) number: u128,
}

impl Place {
    /// Makes the objects, new ones for each operation.
    pub(crate) async fn make(api: &Api, document: &Value, operation: &Operation<'_>, owner: &Owner) -> Self {
        let mut place = Self { path: String::new(), scope: Scope::Name, number: number(api) };
        let mut template = String::new();
        for segment in operation.path.split('/').skip(1) {
            let Some(parameter) = segment.strip_prefix('{') else {
                place.push(&mut template, segment, segment);
                continue;
            };
            let (name, rest) = parameter.split_once('}').unwrap();
            let schema = operation.path_parameter(name);
            let object = if schema["format"] == "uuid" {
                let object = place.object(api, document, &template, owner).await;
                if place.scope == Scope::Name {
                    place.scope = scope(&template);
                }
                object
            } else {
                let known = NAMES.iter().find(|(known, _)| *known == name);
                known.map_or_else(|| place.name(document, schema), |(_, name)| (*name).to_owned())
            };
            // What follows the id in its segment belongs to the operation, as in `{id}:move`.
            place.push(&mut template, &format!("{object}{rest}"), segment);
            if schema["format"] == "uuid" && operation.tag() == "files" {
                place.files(api, owner).await;
            } else if schema["format"] != "uuid" {
                place.put(api, document, &template, owner).await;
            }
        }
        place
    }

    /// A file in a workspace, and a version of it.
    async fn files(&self, api: &Api, owner: &Owner) {
        for text in ["first", "second"] {
            let target = format!("/api/v5{}/files/{FILE}", self.path);
            let request = Request::put(target).header("content-type", "application/octet-stream");
            let mut request = request.body(Body::from(text)).unwrap();
            request.extensions_mut().insert(api.admit(&owner.token).await.unwrap());
            let answer = api.raw(request).await;
            assert!(answer.status.is_success(), "{}", answer.body);
        }
    }

    /// A name, as a path has it.
    fn name(&self, document: &Value, schema: &Value) -> String {
        let value = Maker::new(document, self.number).value(schema);
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }

    /// What a name stands for is there, where a `PUT` makes it.
    async fn put(&self, api: &Api, document: &Value, template: &str, owner: &Owner) {
        let all = operations(document);
        let puts = |operation: &&Operation<'_>| operation.method == Method::PUT && operation.path == template;
        if let Some(put) = all.iter().find(puts) {
            let sent = put.send(api, document, self, owner).await;
            assert!(sent.status.is_success(), "{sent}");
        }
    }

    fn push(&mut self, template: &mut String, actual: &str, segment: &str) {
        self.path.push('/');
        self.path.push_str(actual);
        template.push('/');
        template.push_str(segment);
    }

    /// An object of a collection.
    async fn object(&mut self, api: &Api, document: &Value, collection: &str, owner: &Owner) -> String {
        let path = format!("/api/v5{}", self.path);
        if LISTED.contains(&collection) {
            // One that nothing else is sent with.
            owner.login(api).await;
            let listed = api.get(&path, Some(&owner.token)).await;
            let other = listed.data().as_array().unwrap().iter().find(|login| login["current"] == false);
            return other.unwrap()["id"].as_str().unwrap().to_owned();
        }
        let creates =
            |operation: &&Operation<'_>| operation.method == Method::POST && operation.path == collection;
        let all = operations(document);
        let create = all.iter().find(creates).unwrap_or_else(|| {
            panic!("nothing creates what is in {collection}: say in `objects.rs` how it is made")
        });
        let body = Maker::new(document, self.number).value(create.json_body());
        let created = api.post(&path, Some(&owner.token), body).await;
        assert_eq!(created.status, 201, "{} for {collection}: {}", create.id(), created.body);
        created.text("id")
    }
}

/// Whose the objects of a collection are.
fn scope(collection: &str) -> Scope {
    let known = SCOPES.iter().find(|(known, _)| *known == collection);
    known.unwrap_or_else(|| panic!("say in `objects.rs` whose the objects in {collection} are")).1
}

/// A number that no object was made with.
fn number(api: &Api) -> u128 {
    api.entropy.uuid().as_u128() >> 64
}
