//! The table of methods: of each RPC, what it is and who may call it.
//!
//! One table for every surface. A test walks the schema and fails for an RPC without a line here,
//! so that none can be added and left open by accident.

use Effect::{Read, Write};
use Role::{Admin, Owner, Reader, Writer};
use Scope::{Messages, Namespace, Namespaces, Server};
use Shape::{BothStreams, ClientStream, ServerStream, Unary};

/// What a caller must be allowed to do. Each role contains the ones above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads entries, and what there is to know about a namespace.
    Reader,
    /// Writes entries.
    Writer,
    /// Empties a namespace, copies it out and in.
    Owner,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role with its name.
    pub const NAMED: [(&str, Role); 4] =
        [("reader", Reader), ("writer", Writer), ("owner", Owner), ("admin", Admin)];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Reader => "reader",
            Writer => "writer",
            Owner => "owner",
            Admin => "admin",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a role is needed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The one namespace that the request names.
    Namespace,
    /// Each namespace that the request names or the answer shows: others are left out or refused.
    Namespaces,
    /// Of a stream, the namespace that each message names, with the role of the unary method that it is.
    Messages,
    /// The server as a whole.
    Server,
}

/// What a repetition does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// It changes nothing.
    Read,
    /// It changes something.
    Write,
}

/// Which halves of a call are streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// One message each way.
    Unary,
    /// One request, many responses.
    ServerStream,
    /// Many requests, one response.
    ClientStream,
    /// Many of both.
    BothStreams,
}

/// One RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method {
    /// The path of a call, such as "/pykv.v1.KeyValueService/Get".
    pub path: &'static str,
    /// The role a caller needs.
    pub role: Role,
    /// What it is needed on.
    pub scope: Scope,
    /// Whether it changes anything.
    pub effect: Effect,
    /// Whether it streams.
    pub shape: Shape,
}

impl Method {
    /// The service's full name, such as "pykv.v1.KeyValueService".
    #[must_use]
    pub fn service(&self) -> &'static str {
        self.split().0
    }

    /// The method's own name, such as "Get".
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.split().1
    }

    fn split(&self) -> (&'static str, &'static str) {
        let path = self.path.strip_prefix('/').unwrap_or(self.path);
        path.split_once('/').unwrap_or((path, ""))
    }
}

/// The line of the table for the path of a call; `None` for a path that is no RPC of ours.
#[must_use]
pub fn method(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.path == path)
}

const fn row(path: &'static str, role: Role, scope: Scope, effect: Effect, shape: Shape) -> Method {
    Method { path, role, scope, effect, shape }
}

/// Every RPC of `pykv.v1`.
pub const METHODS: [Method; 29] = [
    row("/pykv.v1.KeyValueService/Get", Reader, Namespace, Read, Unary),
    row("/pykv.v1.KeyValueService/Set", Writer, Namespace, Write, Unary),
    row("/pykv.v1.KeyValueService/Delete", Writer, Namespace, Write, Unary),
    row("/pykv.v1.KeyValueService/Touch", Writer, Namespace, Write, Unary),
    row("/pykv.v1.KeyValueService/Increment", Writer, Namespace, Write, Unary),
    row("/pykv.v1.KeyValueService/BatchGet", Reader, Namespace, Read, Unary),
    row("/pykv.v1.KeyValueService/BatchWrite", Writer, Namespace, Write, Unary),
    row("/pykv.v1.KeyValueService/ListEntries", Reader, Namespace, Read, Unary),
    row("/pykv.v1.KeyValueService/ScanEntries", Reader, Namespace, Read, ServerStream),
    row("/pykv.v1.KeyValueService/DeletePrefix", Writer, Namespace, Write, Unary),
    row("/pykv.v1.KeyValueService/Watch", Reader, Namespace, Read, ServerStream),
    row("/pykv.v1.KeyValueService/Pipeline", Writer, Messages, Write, BothStreams),
    row("/pykv.v1.NamespaceService/CreateNamespace", Admin, Server, Write, Unary),
    row("/pykv.v1.NamespaceService/GetNamespace", Reader, Namespace, Read, Unary),
    row("/pykv.v1.NamespaceService/ListNamespaces", Reader, Namespaces, Read, Unary),
    row("/pykv.v1.NamespaceService/UpdateNamespace", Admin, Server, Write, Unary),
    row("/pykv.v1.NamespaceService/DeleteNamespace", Admin, Server, Write, Unary),
    row("/pykv.v1.NamespaceService/ClearNamespace", Owner, Namespace, Write, Unary),
    row("/pykv.v1.NamespaceService/GetNamespaceStats", Reader, Namespace, Read, Unary),
    row("/pykv.v1.NamespaceService/ListHotKeys", Reader, Namespace, Read, Unary),
    row("/pykv.v1.AdminService/GetServerInfo", Admin, Server, Read, Unary),
    row("/pykv.v1.AdminService/GetStats", Admin, Server, Read, Unary),
    row("/pykv.v1.AdminService/GetPerformance", Admin, Server, Read, Unary),
    row("/pykv.v1.AdminService/ListLoggedOperations", Admin, Server, Read, Unary),
    row("/pykv.v1.AdminService/Compact", Admin, Server, Write, Unary),
    row("/pykv.v1.AdminService/GetConfig", Admin, Server, Read, Unary),
    row("/pykv.v1.AdminService/UpdateConfig", Admin, Server, Write, Unary),
    row("/pykv.v1.AdminService/ExportSnapshot", Owner, Namespaces, Read, ServerStream),
    row("/pykv.v1.AdminService/RestoreSnapshot", Owner, Namespaces, Write, ClientStream),
];

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::method_options::IdempotencyLevel;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};

    use super::*;

    /// Every RPC of the schema with the path of its calls.
    fn schema() -> Vec<(String, MethodDescriptorProto)> {
        let files = FileDescriptorSet::decode(crate::wire::DESCRIPTORS).unwrap().file;
        let mut methods = Vec::new();
        for file in files.into_iter().filter(|file| file.package() == "pykv.v1") {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/pykv.v1.{}/{}", service.name(), method.name());
                    methods.push((path, method.clone()));
                }
            }
        }
        methods
    }

    #[test]
    fn every_rpc_of_the_schema_has_a_line_and_every_line_an_rpc() {
        let mut of_schema: Vec<String> = schema().into_iter().map(|(path, _)| path).collect();
        let mut of_table: Vec<String> = METHODS.iter().map(|m| m.path.to_owned()).collect();
        of_schema.sort();
        of_table.sort();
        assert_eq!(of_table, of_schema);
    }

    #[test]
    fn a_line_says_of_effect_and_streams_what_the_schema_says() {
        for (path, rpc) in schema() {
            let line = method(&path).unwrap();
            let level = rpc.options.clone().unwrap_or_default().idempotency_level();
            let effect = if level == IdempotencyLevel::NoSideEffects { Read } else { Write };
            assert_eq!(line.effect, effect, "{path}");
            let shape = match (rpc.client_streaming(), rpc.server_streaming()) {
                (false, false) => Unary,
                (false, true) => ServerStream,
                (true, false) => ClientStream,
                (true, true) => BothStreams,
            };
            assert_eq!(line.shape, shape, "{path}");
        }
    }

    #[test]
    fn nothing_that_writes_is_open_to_a_reader() {
        for line in METHODS.iter().filter(|line| line.effect == Write) {
            assert!(line.role > Reader, "{}", line.path);
        }
    }

    #[test]
    fn a_path_that_is_no_rpc_has_no_line() {
        for path in ["", "/", "/pykv.v1.KeyValueService/get", "pykv.v1.KeyValueService/Get"] {
            assert_eq!(method(path), None, "{path}");
        }
        let get = method("/pykv.v1.KeyValueService/Get").unwrap();
        assert_eq!((get.service(), get.name()), ("pykv.v1.KeyValueService", "Get"));
    }
}
