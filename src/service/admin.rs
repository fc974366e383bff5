//! `pykv.v1.AdminService`.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Mutex;
use tonic::{Request, Response, Status, Streaming};

use super::access::{Gate, admitted, admitted_with};
use super::config::{self, Change, ConfigSource, Configured};
use super::snapshots::{Exported, Snapshots};
use super::validate::LoggedListing;
use super::{
    BATCH_ITEMS_MAX, REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX, convert, logged, performance, status,
    validate,
};
use crate::model::{KEY_BYTES_MAX, NamespaceName, UnixMillis, VALUE_BYTES_HARD_MAX};
use crate::store::{Capabilities, Error, NamespaceStats, Store};
use crate::telemetry;
use crate::wire::v1 as wire;
use crate::wire::v1::admin_service_server::{AdminService, AdminServiceServer};

type Answer<T> = Result<Response<T>, Status>;

/// What is true of this server as long as it runs.
#[derive(Clone)]
pub struct ServerFacts {
    /// Its version, such as "1.2.0".
    pub version: &'static str,
    /// The compiler's target.
    pub build_target: &'static str,
    /// When it started, for how long it has run.
    pub started: Instant,
    /// The same moment by the store's clock.
    pub started_at: UnixMillis,
    /// Most namespaces the store takes.
    pub namespaces_max: usize,
    /// What was configured, and what telemetry keeps of it.
    pub config: Arc<dyn ConfigSource>,
}

/// The server as a whole, over any store.
pub struct Admin<S> {
    store: S,
    facts: ServerFacts,
    gate: Gate,
    snapshots: Snapshots,
    /// Held while the configuration is read, changed and kept: changes come one by one.
    changing: Arc<Mutex<()>>,
}

impl<S> std::fmt::Debug for Admin<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for ServerFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerFacts").field("version", &self.version).finish_non_exhaustive()
    }
}

impl<S: Store> Admin<S> {
    /// The service over `store`, behind `gate`.
    pub fn new(store: S, facts: ServerFacts, gate: Gate) -> Self {
        Admin { store, facts, gate, snapshots: Snapshots::new(), changing: Arc::default() }
    }

    /// The service with its limits, ready to be routed to.
    pub fn into_server(self) -> AdminServiceServer<Self> {
        AdminServiceServer::new(self)
            .max_decoding_message_size(REQUEST_BYTES_MAX)
            .max_encoding_message_size(RESPONSE_BYTES_MAX)
    }

    fn in_force(&self) -> Configured {
        in_force(&self.store, &*self.facts.config)
    }

    /// Puts `change` in force, on a task of its own: a caller who goes away must not leave it kept
    /// and not in force.
    async fn change(&self, change: Change, persist: bool) -> Result<Configured, Status> {
        let one_by_one = Arc::clone(&self.changing).lock_owned().await;
        let (store, source) = (self.store.clone(), Arc::clone(&self.facts.config));
        let task = tokio::spawn(async move {
            let _one_by_one = one_by_one;
            put_in_force(&store, &*source, &change, persist).await
        });
        task.await.unwrap_or_else(|_| Err(Status::internal("the change of settings failed")))
    }
}

fn in_force(store: &impl Store, source: &dyn ConfigSource) -> Configured {
    Configured { settings: store.settings(), observation: source.observation() }
}

/// What cannot be kept is not put in force either.
async fn put_in_force(
    store: &impl Store,
    source: &dyn ConfigSource,
    change: &Change,
    persist: bool,
) -> Result<Configured, Status> {
    if persist {
        let before = store.persisted();
        // Not a caller's mistake: what is kept was written by another release.
        let text = change.kept_after(before.as_deref()).map_err(Status::internal)?;
        store.persist(&text).await.map_err(|error| failed(&error))?;
    }
    let changed = change.applied_to(in_force(store, source), &source.configured());
    store.apply_settings(changed.settings.clone());
    source.observe(changed.observation.clone());
    Ok(changed)
}

#[tonic::async_trait]
impl<S: Store> AdminService for Admin<S> {
    async fn get_server_info(
        &self,
        request: Request<wire::GetServerInfoRequest>,
    ) -> Answer<wire::GetServerInfoResponse> {
        let wire::GetServerInfoRequest {} = admitted(&self.gate, request)?;
        let capabilities = self.store.capabilities();
        let info = wire::ServerInfo {
            version: self.facts.version.to_owned(),
            engine: capabilities.engine.to_owned(),
            build_target: self.facts.build_target.to_owned(),
            limits: Some(limits(self.facts.namespaces_max)),
            capabilities: promises(capabilities).into_iter().map(i32::from).collect(),
        };
        Ok(Response::new(wire::GetServerInfoResponse { info: Some(info) }))
    }

    async fn get_stats(
        &self,
        request: Request<wire::GetStatsRequest>,
    ) -> Answer<wire::GetStatsResponse> {
        let request = admitted(&self.gate, request)?;
        let stats = self.store.stats().await.map_err(|error| failed(&error))?;
        let totals = sum(&stats.namespaces);
        let namespace_count = convert::int64(stats.namespaces.len() as u64);
        let namespaces = if request.include_namespaces {
            stats.namespaces.into_iter().map(convert::namespace_stats).collect()
        } else {
            Vec::new()
        };
        let stats = wire::ServerStats {
            server_version: self.facts.version.to_owned(),
            start_time: Some(convert::timestamp(self.facts.started_at)),
            uptime: Some(convert::duration(self.facts.started.elapsed())),
            totals: Some(convert::namespace_stats(totals)),
            namespace_count,
            wal_entries: convert::int64(stats.log.records),
            wal_bytes: convert::int64(stats.log.bytes),
            last_compaction_time: stats.log.last_compaction.map(convert::timestamp),
            compaction_running: stats.log.compaction_running,
            namespaces,
        };
        Ok(Response::new(wire::GetStatsResponse { stats: Some(stats) }))
    }

    async fn get_performance(
        &self,
        request: Request<wire::GetPerformanceRequest>,
    ) -> Answer<wire::GetPerformanceResponse> {
        let window = validate::window(admitted(&self.gate, request)?.window);
        Ok(Response::new(performance::response(telemetry::performance(window))))
    }

    async fn list_logged_operations(
        &self,
        request: Request<wire::ListLoggedOperationsRequest>,
    ) -> Answer<wire::ListLoggedOperationsResponse> {
        let LoggedListing { log, namespace, operations_max } =
            validate::logged_operations(admitted(&self.gate, request)?)?;
        let namespace = namespace.as_ref().map(NamespaceName::as_str);
        let found = telemetry::logged_operations(log, namespace, operations_max);
        Ok(Response::new(logged::response(&found)))
    }

    async fn compact(
        &self,
        request: Request<wire::CompactRequest>,
    ) -> Answer<wire::CompactResponse> {
        let compacted = self.store.compact(admitted(&self.gate, request)?.wait).await;
        let compacted = compacted.map_err(|error| failed(&error))?;
        Ok(Response::new(convert::compacted(compacted)))
    }

    async fn get_config(
        &self,
        request: Request<wire::GetConfigRequest>,
    ) -> Answer<wire::GetConfigResponse> {
        let wire::GetConfigRequest {} = admitted(&self.gate, request)?;
        let config = Some(config::message(&self.in_force()));
        Ok(Response::new(wire::GetConfigResponse { config }))
    }

    async fn update_config(
        &self,
        request: Request<wire::UpdateConfigRequest>,
    ) -> Answer<wire::UpdateConfigResponse> {
        let wire::UpdateConfigRequest { config, update_mask, persist } =
            admitted(&self.gate, request)?;
        let change = Change::parse(config, update_mask, &*self.facts.config)?;
        let changed = self.change(change, persist).await?;
        let config = Some(config::message(&changed));
        Ok(Response::new(wire::UpdateConfigResponse { config }))
    }

    type ExportSnapshotStream = Exported;

    async fn export_snapshot(
        &self,
        request: Request<wire::ExportSnapshotRequest>,
    ) -> Answer<Self::ExportSnapshotStream> {
        let (request, pass) = admitted_with(&self.gate, request)?;
        self.snapshots.export(&self.store, request, &pass).await
    }

    async fn restore_snapshot(
        &self,
        request: Request<Streaming<wire::RestoreSnapshotRequest>>,
    ) -> Answer<wire::RestoreSnapshotResponse> {
        let pass = self.gate.pass(request.extensions())?;
        self.snapshots.restore(&self.store, request.into_inner(), &pass).await
    }
}

fn failed(error: &Error) -> Status {
    status::of_error(error, "").into_status()
}

fn limits(namespaces_max: usize) -> wire::ServerLimits {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    wire::ServerLimits {
        max_key_bytes: count(KEY_BYTES_MAX),
        max_value_bytes: count(VALUE_BYTES_HARD_MAX),
        max_batch_items: count(BATCH_ITEMS_MAX),
        max_request_bytes: count(REQUEST_BYTES_MAX),
        max_response_bytes: count(RESPONSE_BYTES_MAX),
        max_namespaces: count(namespaces_max),
    }
}

fn promises(capabilities: Capabilities) -> Vec<wire::Capability> {
    let Capabilities {
        engine: _,
        ordered_scan,
        resumable_watch,
        atomic_batch,
        exact_counts,
        namespace_eviction,
        ordered_versions,
        constant_time_clear,
        sync_durability,
    } = capabilities;
    let promises = [
        (ordered_scan, wire::Capability::OrderedScan),
        (resumable_watch, wire::Capability::ResumableWatch),
        (atomic_batch, wire::Capability::AtomicBatch),
        (exact_counts, wire::Capability::ExactCounts),
        (namespace_eviction, wire::Capability::NamespaceEviction),
        (ordered_versions, wire::Capability::OrderedVersions),
        (constant_time_clear, wire::Capability::ConstantTimeClear),
        (sync_durability, wire::Capability::SyncDurability),
    ];
    promises.into_iter().filter_map(|(kept, promise)| kept.then_some(promise)).collect()
}

/// The sum over all namespaces. Versions belong to one namespace each and have no sum.
fn sum(namespaces: &[NamespaceStats]) -> NamespaceStats {
    let mut total = NamespaceStats::default();
    for one in namespaces {
        total.usage.keys += one.usage.keys;
        total.usage.bytes += one.usage.bytes;
        total.hits += one.hits;
        total.misses += one.misses;
        total.sets += one.sets;
        total.deletes += one.deletes;
        total.expirations += one.expirations;
        total.evictions += one.evictions;
        total.quota_rejections += one.quota_rejections;
        total.rate_limit_rejections += one.rate_limit_rejections;
        total.active_watches += one.active_watches;
    }
    total
}
