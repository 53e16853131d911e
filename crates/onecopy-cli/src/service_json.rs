//! What `--json` prints of services: the field names here are part of the command's interface, and told in its help.

use onecopy::observation::{ClientCounters, Latencies};
use onecopy::payload_type::{PayloadType, TypeDescription};
use onecopy::{ServiceEntry, ServicePortEntry};
use serde::Serialize;

use crate::inventory_json::{Payload, unknown};
use crate::units::{count, duration};

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
    /// Calls made by the clients that are there.
    pub(crate) calls: u64,
    /// Those of them that brought no answer, though somebody waited for it.
    pub(crate) errors: u64,
    pub(crate) latency: Latency,
}

/// A service in full.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceDetails {
    pub(crate) name: String,
    pub(crate) request: Option<Payload>,
    pub(crate) response: Option<Payload>,
    pub(crate) servers: Vec<Server>,
    pub(crate) clients: Vec<Client>,
}

/// A server.
#[derive(Debug, Serialize)]
pub(crate) struct Server {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) pid: u32,
    /// Requests received from the clients that are there; `null` if its memory could not be looked at.
    pub(crate) requests: Option<u64>,
}

/// A client. Counters are `null` if its memory could not be looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) pid: u32,
    pub(crate) calls: Option<u64>,
    pub(crate) notifications: Option<u64>,
    pub(crate) answered: Option<u64>,
    pub(crate) failed: Option<u64>,
    pub(crate) server_lost: Option<u64>,
    pub(crate) late: Option<u64>,
    pub(crate) cancelled: Option<u64>,
    pub(crate) latency: Latency,
}

/// From sending a request to its first answer, in nanoseconds, as the clients saw it; `null` before the first answer.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_ns: Option<u64>,
    pub(crate) p90_ns: Option<u64>,
    pub(crate) p99_ns: Option<u64>,
    pub(crate) p999_ns: Option<u64>,
}

impl From<&Latencies> for Latency {
    fn from(latencies: &Latencies) -> Self {
        Self {
            p50_ns: latencies.quantile_ns(0.5),
            p90_ns: latencies.quantile_ns(0.9),
            p99_ns: latencies.quantile_ns(0.99),
            p999_ns: latencies.quantile_ns(0.999),
        }
    }
}

impl From<&ServiceEntry> for ServiceSummary {
    fn from(service: &ServiceEntry) -> Self {
        let payload = service.payload.as_ref();
        let clients = || service.clients.iter().filter_map(|client| client.calls.as_ref());
        let mut latencies = Latencies::default();
        clients().for_each(|client| latencies.merge(&client.latencies));
        Self {
            name: service.name.clone(),
            servers: service.servers.len(),
            clients: service.clients.len(),
            request: payload.map(|payload| without_header(&payload.request).to_string()),
            response: payload.map(|payload| without_header(&payload.response).to_string()),
            calls: clients().map(|client| client.calls).sum(),
            errors: clients().map(ClientCounters::errors).sum(),
            latency: Latency::from(&latencies),
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
            servers: service.servers.iter().map(Server::from).collect(),
            clients: service.clients.iter().map(Client::from).collect(),
        }
    }
}

impl From<&ServicePortEntry> for Server {
    fn from(port: &ServicePortEntry) -> Self {
        Self { id: port.id.clone(), node: port.node.clone(), pid: port.pid, requests: port.requests }
    }
}

impl From<&ServicePortEntry> for Client {
    fn from(port: &ServicePortEntry) -> Self {
        let calls = port.calls.as_ref();
        let latency =
            calls.map_or_else(|| Latency::from(&Latencies::default()), |calls| (&calls.latencies).into());
        Self {
            id: port.id.clone(),
            node: port.node.clone(),
            pid: port.pid,
            calls: calls.map(|calls| calls.calls),
            notifications: calls.map(|calls| calls.notifications),
            answered: calls.map(|calls| calls.answered),
            failed: calls.map(|calls| calls.failed),
            server_lost: calls.map(|calls| calls.server_lost),
            late: calls.map(|calls| calls.late),
            cancelled: calls.map(|calls| calls.cancelled),
            latency,
        }
    }
}

/// What users exchange: the header before it is the library's own.
pub(crate) fn without_header(payload: &PayloadType) -> PayloadType {
    PayloadType { header: TypeDescription::of::<()>(), ..payload.clone() }
}

impl ServiceSummary {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 8] =
        ["SERVICE", "SERVERS", "CLIENTS", "CALLS", "ERRORS", "P99", "REQUEST", "RESPONSE"];

    /// The same for people.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.servers.to_string(),
            self.clients.to_string(),
            self.calls.to_string(),
            self.errors.to_string(),
            duration(self.latency.p99_ns),
            self.request.clone().unwrap_or_else(unknown),
            self.response.clone().unwrap_or_else(unknown),
        ]
    }
}

impl Server {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 4] = ["SERVER", "NODE", "PROCESS", "REQUESTS"];

    /// For people.
    pub(crate) fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.node.clone(), self.pid.to_string(), count(self.requests)]
    }
}

impl Client {
    /// Headings of [`Self::cells`].
    pub(crate) const HEADINGS: [&'static str; 10] =
        ["CLIENT", "NODE", "PROCESS", "CALLS", "ANSWERED", "FAILED", "LATE", "CANCELLED", "P50", "P99"];

    /// For people.
    pub(crate) fn cells(&self) -> Vec<String> {
        let failed = self.failed.map(|failed| failed + self.server_lost.unwrap_or(0));
        vec![
            self.id.clone(),
            self.node.clone(),
            self.pid.to_string(),
            count(self.calls),
            count(self.answered),
            count(failed),
            count(self.late),
            count(self.cancelled),
            duration(self.latency.p50_ns),
            duration(self.latency.p99_ns),
        ]
    }
}
