//! What `--json` prints of services: the field names here are part of the command's interface, and told in its help.

use onecopy::payload_type::{PayloadType, TypeDescription};
use onecopy::{ServiceEntry, ServicePortEntry};
use serde::Serialize;

use crate::inventory_json::{Payload, unknown};

/// A service in a list.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceSummary {
    pub(crate) name: String,
    pub(crate) servers: usize,
    pub(crate) clients: usize,
    /// What it takes, in words; `null` if nobody has said so yet.
    pub(crate) request: Option<String>,
    /// What it answers.
    pub(crate) response: Option<String>,
}

/// A service in full.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceDetails {
    pub(crate) name: String,
    pub(crate) request: Option<Payload>,
    pub(crate) response: Option<Payload>,
    pub(crate) servers: Vec<Port>,
    pub(crate) clients: Vec<Port>,
}

/// A server or a client.
#[derive(Debug, Serialize)]
pub(crate) struct Port {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) pid: u32,
}

impl From<&ServiceEntry> for ServiceSummary {
    fn from(service: &ServiceEntry) -> Self {
        let payload = service.payload.as_ref();
        Self {
            name: service.name.clone(),
            servers: service.servers.len(),
            clients: service.clients.len(),
            request: payload.map(|payload| without_header(&payload.request).to_string()),
            response: payload.map(|payload| without_header(&payload.response).to_string()),
        }
    }
}

impl From<&ServiceEntry> for ServiceDetails {
    fn from(service: &ServiceEntry) -> Self {
        let payload = service.payload.as_ref();
        Self {
            name: service.name.clone(),
            request: payload.map(|payload| Payload::from(&without_header(&payload.request))),
            response: payload.map(|payload| Payload::from(&without_header(&payload.response))),
            servers: service.servers.iter().map(Port::from).collect(),
            clients: service.clients.iter().map(Port::from).collect(),
        }
    }
}

impl From<&ServicePortEntry> for Port {
    fn from(port: &ServicePortEntry) -> Self {
        Self { id: port.id.clone(), node: port.node.clone(), pid: port.pid }
    }
}

/// What users exchange: the header before it is the library's own.
pub(crate) fn without_header(payload: &PayloadType) -> PayloadType {
    PayloadType { header: TypeDescription::of::<()>(), ..payload.clone() }
}

impl ServiceSummary {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 5] = ["SERVICE", "SERVERS", "CLIENTS", "REQUEST", "RESPONSE"];

    /// The same for people.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.servers.to_string(),
            self.clients.to_string(),
            self.request.clone().unwrap_or_else(unknown),
            self.response.clone().unwrap_or_else(unknown),
        ]
    }
}

impl Port {
    /// For people.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.node.clone(), self.pid.to_string()]
    }
}
