//! Random use of the repositories by several users at a time: of everything that has an index.

use coditect_auth::{Entropy, SeededEntropy};
use coditect_store::blobs::BlobHash;
use coditect_store::records::{Agent, Content, Conversation, FIRST_VERSION, StatePart};
use coditect_store::{By, Client, Condition, FileError, Fork, Move, Repositories, Rotated, UpdateError};
use futures::future::join_all;
use uuid::Uuid;

use crate::support::{NOW, registration, session};

/// Users of one tenant, at work at the same time on the same workspaces, names and addresses.
const USERS: u64 = 3;
/// What each of them does.
const STEPS: usize = 25;
/// Few names, so that they meet.
const NAMES: u8 = 3;
/// Few contents of files, so that they share them.
const CONTENTS: u8 = 4;

/// Runs the users that a seed makes; returns how many of their steps did something.
pub(crate) async fn run(repositories: &Repositories, seed: u64) -> usize {
    let entropy = SeededEntropy::new(seed);
    let first = registration(&entropy, "first@example.com");
    repositories.users().register(&first).await.unwrap();
    let tenant = first.tenant.id;
    for byte in 0..CONTENTS {
        let mut upload = repositories.blobs().upload(tenant);
        upload.write(&[byte]).await.unwrap();
        upload.finish().await.unwrap();
    }
    let users = (0..USERS).map(|number| {
        let entropy = SeededEntropy::new(seed * USERS + number);
        let mut user = first.user.clone();
        user.id = entropy.uuid();
        user.email = format!("user{number}@example.com");
        async move {
            repositories.users().add(By::Operator, &user).await.unwrap();
            let mut person =
                Person { repositories, entropy, tenant, id: user.id, login: None, workspaces: Vec::new() };
            let mut done = 0;
            for step in 0..STEPS {
                match person.step(NOW * 1000 + step as i64).await {
                    Ok(()) => done += 1,
                    Err(UpdateError::Store(error)) => panic!("seed {seed}, step {step}: {error}"),
                    // Somebody else was there first.
                    Err(_) => {}
                }
            }
            done
        }
    });
    join_all(users).await.into_iter().sum()
}

struct Person<'a> {
    repositories: &'a Repositories,
    entropy: SeededEntropy,
    tenant: Uuid,
    id: Uuid,
    /// The last login's auth session.
    login: Option<Uuid>,
    workspaces: Vec<Uuid>,
}

impl Person<'_> {
    fn below(&self, bound: u8) -> u8 {
        let mut byte = [0];
        self.entropy.fill(&mut byte);
        byte[0] % bound
    }

    fn name(&self) -> String {
        format!("name{}", self.below(NAMES))
    }

    /// A name, or one below another.
    fn path(&self) -> String {
        if self.below(2) == 0 { self.name() } else { format!("{}/{}", self.name(), self.name()) }
    }

    async fn step(&mut self, at: i64) -> Result<(), UpdateError> {
        match self.below(9) {
            0 | 1 => self.workspace(at).await,
            2..=4 => self.file(at).await,
            5 | 6 => self.agent(at).await,
            7 => self.conversation(at).await,
            _ => self.account(at).await,
        }
    }

    async fn workspace(&mut self, at: i64) -> Result<(), UpdateError> {
        let sessions = self.repositories.sessions();
        match (self.below(6), self.workspaces.pop()) {
            (0, Some(workspace)) => {
                sessions.delete(self.tenant, self.id, workspace).await?;
            }
            (1, Some(workspace)) => {
                self.workspaces.push(workspace);
                let path = format!("/work/{}", self.name());
                let change = |s: &mut coditect_store::records::Session| s.workspace_path = Some(path.clone());
                sessions.update(self.tenant, self.id, workspace, None, change).await?;
            }
            (2, Some(workspace)) => {
                self.workspaces.push(workspace);
                let text = bytes::Bytes::from(self.name());
                let part = StatePart::ALL[usize::from(self.below(4))];
                let states = self.repositories.session_states();
                states.put(self.tenant, self.id, workspace, part, &text, None, at).await?;
                sessions.pause(self.tenant, self.id, workspace, None, at).await?;
            }
            (3, Some(workspace)) => {
                let fork = Fork { id: self.entropy.uuid(), name: None, limit: usize::MAX, now: at };
                self.workspaces.extend([workspace, fork.id]);
                sessions.fork(self.tenant, self.id, workspace, &fork).await?;
                sessions.finish_fork(self.tenant, fork.id).await?;
            }
            (_, other) => {
                let new = session(&self.entropy, self.tenant, self.id, at);
                self.workspaces.extend(other.into_iter().chain([new.id]));
                sessions.create(&new).await?;
            }
        }
        Ok(())
    }

    async fn file(&mut self, at: i64) -> Result<(), UpdateError> {
        let Some(&workspace) = self.workspaces.last() else { return self.workspace(at).await };
        let files = self.repositories.files();
        let (name, other) = (self.path(), self.path());
        let how = Move { from: &name, to: &other, replace: self.below(2) == 0 };
        let any = &Condition::Any;
        let done = match self.below(8) {
            0 => files.delete(self.tenant, workspace, &name, any, at).await.map(|_| ()),
            1 => files.move_file(self.tenant, workspace, how, any, at).await.map(|_| ()),
            2 => files.move_some(self.tenant, workspace, how, None, at).await.map(|_| ()),
            3 => files.delete_some(self.tenant, workspace, &name, None, at).await.map(|_| ()),
            4 => files.restore(self.tenant, workspace, &name, 1, any, at).await.map(|_| ()),
            _ => {
                let byte = self.below(CONTENTS);
                let content = Content { sha256: BlobHash::of(&[byte]), size: 1, executable: false };
                files.put(self.tenant, workspace, &name, content, any, at).await.map(|_| ())
            }
        };
        done.map_err(|error| match error {
            FileError::Store(error) => UpdateError::Store(error),
            _ => UpdateError::Taken,
        })
    }

    async fn agent(&self, at: i64) -> Result<(), UpdateError> {
        let agents = self.repositories.agents();
        let (name, other) = (self.name(), self.name());
        let known = agents.by_name(self.tenant, &name).await?;
        match (self.below(3), known) {
            (0, Some(agent)) => agents.delete(self.tenant, agent.id, None).await.map(|_| ()),
            (1, Some(agent)) => {
                agents.update(self.tenant, agent.id, None, |a| a.name.clone_from(&other)).await.map(|_| ())
            }
            _ => {
                let agent = Agent {
                    id: self.entropy.uuid(),
                    tenant_id: self.tenant,
                    name,
                    description: String::new(),
                    settings: serde_json::Map::new(),
                    created_by: self.id,
                    created_at: at,
                    updated_at: at,
                    version: FIRST_VERSION,
                };
                agents.create(&agent).await
            }
        }
    }

    async fn conversation(&self, at: i64) -> Result<(), UpdateError> {
        let conversations = self.repositories.conversations();
        let conversation = Conversation {
            id: self.entropy.uuid(),
            tenant_id: self.tenant,
            user_id: self.id,
            session_id: self.workspaces.last().copied(),
            title: self.name(),
            created_at: at,
            updated_at: at,
            version: FIRST_VERSION,
        };
        conversations.create(&conversation).await?;
        if self.below(2) == 0 {
            conversations.delete(self.tenant, self.id, conversation.id, None).await?;
        }
        Ok(())
    }

    /// Addresses and logins.
    async fn account(&mut self, at: i64) -> Result<(), UpdateError> {
        let auth = self.repositories.auth_sessions();
        match (self.below(3), self.login) {
            (0, Some(login)) => {
                let rotated = auth.rotate(login, 0, at / 1000, &Client::default()).await?;
                self.login = match rotated {
                    Rotated::Issued(next) => Some(next.id),
                    _ => None,
                };
            }
            (1, _) => {
                let address = format!("{}@example.com", self.name());
                self.repositories.users().change_email(self.tenant, self.id, None, &address, at).await?;
            }
            _ => {
                let new = crate::support::login(&self.entropy, self.tenant, self.id);
                auth.create(&new, at / 1000).await?;
                self.login = Some(new.id);
            }
        }
        Ok(())
    }
}
