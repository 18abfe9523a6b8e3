//! `GET /api/v5/health`: the service runs. Whether it is ready is the admin listener's to say.

use serde::Serialize;

use crate::envelope::Data;

#[derive(Serialize)]
pub(crate) struct Health {
    service: &'static str,
    status: &'static str,
}

pub(crate) async fn health() -> Data<Health> {
    Data(Health { service: "coditect-v5-api", status: "healthy" })
}
