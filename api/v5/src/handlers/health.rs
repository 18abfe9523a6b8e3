//! `GET /api/v5/health`: the service runs. Whether it is ready is the admin listener's to say.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::envelope::{Answer, Data};
use crate::state::ApiState;

/// The operation of this resource.
pub(crate) fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(health))
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    service: &'static str,
    status: &'static str,
}

/// Whether the API runs.
#[utoipa::path(
    get, path = "/health", tag = "health", operation_id = "getHealth", security(()),
    responses((status = 200, description = "It runs", body = Answer<Health>))
)]
async fn health() -> Data<Health> {
    Data(Health { service: "coditect-v5-api", status: "healthy" })
}
