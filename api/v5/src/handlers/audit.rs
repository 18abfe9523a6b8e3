//! `/api/v5/audit`: the tenant's audit trail, for its owners.

use std::sync::Arc;

use axum::extract::State;
use coditect_store::records::{AuditEntry, AuditHash, AuditObject};
use coditect_store::{AuditFilter, Order};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use super::rfc3339;
use crate::envelope::{List, ListAnswer};
use crate::error::ApiError;
use crate::extract::{Caller, Cursor, PageQuery, Query};
use crate::state::ApiState;

/// The longest kind of an object, and the longest beginning of an action, in characters.
const MAX_KIND_CHARS: usize = 64;
/// The longest id of an object, in characters.
const MAX_ID_CHARS: usize = 512;

/// The operations of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Which entries are wanted: those to which all of it applies.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct AuditQuery {
    /// Who did it.
    actor: Option<Uuid>,
    /// The kind of what it was done to; with `objectId` only.
    #[param(max_length = 64)]
    object_kind: Option<String>,
    /// The id of what it was done to; with `objectKind` only.
    #[param(max_length = 512)]
    object_id: Option<String>,
    /// What was done begins with this, for example `login.`.
    #[param(max_length = 64)]
    action: Option<String>,
    /// Not before this time.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Before this time.
    #[param(format = DateTime)]
    to: Option<String>,
    /// The newest first unless said otherwise.
    #[serde(default)]
    #[param(inline)]
    order: AuditOrder,
}

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AuditOrder {
    /// From the last entry to the first.
    #[default]
    NewestFirst,
    /// From the first entry to the last.
    OldestFirst,
}

/// What something was done to.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditObjectResponse {
    kind: String,
    id: String,
}

/// An entry of the trail.
#[derive(Serialize, ToSchema)]
pub(crate) struct AuditEntryResponse {
    id: Uuid,
    #[schema(format = DateTime)]
    at: String,
    /// The user; `null` if the edge or an operator did it.
    #[schema(required)]
    actor: Option<Uuid>,
    action: String,
    object: AuditObjectResponse,
    #[schema(required)]
    address: Option<String>,
    #[schema(value_type = Object)]
    details: Map<String, Value>,
    /// The entry's place in the tenant's chain, from 1; `null` for entries older than the chain.
    #[schema(required)]
    seq: Option<u64>,
    /// The hash of the entry before.
    #[schema(required, value_type = Option<String>)]
    prev: Option<AuditHash>,
    /// The entry's own hash.
    #[schema(required, value_type = Option<String>)]
    hash: Option<AuditHash>,
}

impl TryFrom<AuditEntry> for AuditEntryResponse {
    type Error = ApiError;

    fn try_from(entry: AuditEntry) -> Result<Self, ApiError> {
        Ok(Self {
            id: entry.id,
            at: rfc3339(entry.at)?,
            actor: entry.actor,
            action: entry.action,
            object: AuditObjectResponse { kind: entry.object.kind, id: entry.object.id },
            address: entry.address,
            details: entry.details,
            seq: entry.link.map(|link| link.seq),
            prev: entry.link.map(|link| link.prev),
            hash: entry.link.map(|link| link.hash),
        })
    }
}

impl AuditQuery {
    fn filter(self) -> Result<AuditFilter, ApiError> {
        for (field, text, limit) in [
            ("objectKind", &self.object_kind, MAX_KIND_CHARS),
            ("objectId", &self.object_id, MAX_ID_CHARS),
            ("action", &self.action, MAX_KIND_CHARS),
        ] {
            if text.as_ref().is_some_and(|text| text.chars().count() > limit) {
                return Err(ApiError::validation(field, format!("must have at most {limit} characters")));
            }
        }
        let object = match (self.object_kind, self.object_id) {
            (Some(kind), Some(id)) => Some(AuditObject { kind, id }),
            (None, None) => None,
            (Some(_), None) => return Err(ApiError::validation("objectId", "must go with objectKind")),
            (None, Some(_)) => return Err(ApiError::validation("objectKind", "must go with objectId")),
        };
        Ok(AuditFilter {
            actor: self.actor,
            object,
            action: self.action,
            from: self.from.as_deref().map(|text| millis("from", text)).transpose()?,
            to: self.to.as_deref().map(|text| millis("to", text)).transpose()?,
        })
    }
}

/// RFC 3339 as Unix milliseconds, the next whole one.
fn millis(field: &str, text: &str) -> Result<i64, ApiError> {
    let wrong = || ApiError::validation(field, "must be a time such as 2026-01-31T12:00:00Z");
    let nanos = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?.unix_timestamp_nanos();
    let millis = nanos.div_euclid(1_000_000) + i128::from(nanos.rem_euclid(1_000_000) > 0);
    i64::try_from(millis).map_err(|_| wrong())
}

/// Lists the tenant's audit trail. A part may have fewer entries than asked for, or none, and a `next_cursor` all the
/// same: a filter is looked for piece by piece.
#[utoipa::path(
    get, path = "/audit", tag = "audit", operation_id = "listAuditEntries", security(("bearer" = ["owner"])),
    params(AuditQuery, PageQuery),
    responses((status = 200, description = "A part of the trail", body = ListAnswer<AuditEntryResponse>))
)]
async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Query(page): Query<PageQuery>,
    Query(query): Query<AuditQuery>,
) -> Result<List<AuditEntryResponse>, ApiError> {
    let order = match query.order {
        AuditOrder::NewestFirst => Order::NewestFirst,
        AuditOrder::OldestFirst => Order::OldestFirst,
    };
    let (after, limit, filter) = (page.after()?, page.limit(), query.filter()?);
    let audit = state.repositories.audit();
    let found = audit.search(caller.tenant(), &filter, after.as_ref(), order, limit).await?;
    let items = found.items.into_iter().map(AuditEntryResponse::try_from).collect::<Result<_, _>>()?;
    Ok(List { items, next_cursor: found.next.map(|next| next.write()) })
}
