//! What a guest may look for around itself: files, environment, arguments, input, sockets, names, clocks, chance.

use super::Guest;

impl Guest {
    /// `$environment`, `$arguments` and `$directories`, each writing a list's pointer and length, and
    /// `$same (descriptor, descriptor) -> bool`.
    pub fn surroundings(self) -> Self {
        self.import(
            "environment",
            r#"(import "wasi:cli/environment@0.2.0" (instance $environment
                (export "get-environment" (func (result (list (tuple string string)))))
                (export "get-arguments" (func (result (list string))))
                (export "initial-cwd" (func (result (option string))))))
            "#,
            &[
                ("get-environment", "environment", "(param i32)"),
                ("get-arguments", "arguments", "(param i32)"),
                ("initial-cwd", "folder", "(param i32)"),
            ],
        )
        .import(
            "files",
            r#"(import "wasi:filesystem/types@0.2.0" (instance $files
                (export "descriptor" (type $d (sub resource)))
                (export "[method]descriptor.is-same-object"
                    (func (param "self" (borrow $d)) (param "other" (borrow $d)) (result bool)))))
            (alias export $files "descriptor" (type $descriptor))
            "#,
            &[(
                "[method]descriptor.is-same-object",
                "same",
                "(param i32 i32) (result i32)",
            )],
        )
        .import(
            "preopens",
            r#"(import "wasi:filesystem/preopens@0.2.0" (instance $preopens
                (alias outer 1 $descriptor (type $d))
                (export "descriptor" (type $own (eq $d)))
                (export "get-directories" (func (result (list (tuple (own $own) string)))))))
            "#,
            &[("get-directories", "directories", "(param i32)")],
        )
    }

    /// `$network -> handle`, `$resolve (network, name, length, result at)`, `$tcp (family, result at)`,
    /// `$udp (family, result at)` and `$listening (socket) -> bool`.
    pub fn network(self) -> Self {
        self.import(
            "network-instance",
            r#"(import "wasi:sockets/network@0.2.0" (instance $network-types
                (export "network" (type (sub resource)))
                (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory"
                    "timeout" "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
                    "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"
                    "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
                    "permanent-resolver-failure"))
                (export "error-code" (type (eq $codes)))
                (type $families (enum "ipv4" "ipv6"))
                (export "ip-address-family" (type (eq $families)))))
            (alias export $network-types "network" (type $network-type))
            (alias export $network-types "error-code" (type $network-error))
            (alias export $network-types "ip-address-family" (type $network-family))
            (import "wasi:sockets/instance-network@0.2.0" (instance $network-instance
                (alias outer 1 $network-type (type $n))
                (export "network" (type $own (eq $n)))
                (export "instance-network" (func (result (own $own))))))
            (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
                (alias outer 1 $network-type (type $n))
                (alias outer 1 $network-error (type $e))
                (export "network" (type $own (eq $n)))
                (export "error-code" (type $code (eq $e)))
                (export "resolve-address-stream" (type $stream (sub resource)))
                (export "resolve-addresses" (func (param "network" (borrow $own)) (param "name" string)
                    (result (result (own $stream) (error $code)))))))
            "#,
            &[("instance-network", "network", "(result i32)")],
        )
        .import("lookup", "", &[("resolve-addresses", "resolve", "(param i32 i32 i32 i32)")])
        .socket("tcp", r#"(export "[method]tcp-socket.is-listening" (func (param "self" (borrow $s)) (result bool)))"#)
        .socket("udp", "")
        .import("tcp", "", &[("[method]tcp-socket.is-listening", "listening", "(param i32) (result i32)")])
    }

    /// A kind of socket, and its constructor under the kind's name.
    fn socket(self, kind: &str, methods: &str) -> Self {
        let constructor = format!("create-{kind}-socket");
        self.import(
            &format!("{kind}-create"),
            &format!(
                r#"(import "wasi:sockets/{kind}@0.2.0" (instance ${kind}
                    (export "{kind}-socket" (type $s (sub resource))) {methods}))
                (alias export ${kind} "{kind}-socket" (type ${kind}-socket))
                (import "wasi:sockets/{kind}-create-socket@0.2.0" (instance ${kind}-create
                    (alias outer 1 ${kind}-socket (type $x))
                    (alias outer 1 $network-error (type $e))
                    (alias outer 1 $network-family (type $f))
                    (export "{kind}-socket" (type $s (eq $x)))
                    (export "error-code" (type $code (eq $e)))
                    (export "ip-address-family" (type $family (eq $f)))
                    (export "{constructor}" (func (param "address-family" $family)
                        (result (result (own $s) (error $code)))))))
                "#
            ),
            &[(constructor.as_str(), kind, "(param i32 i32)")],
        )
    }

    /// `$random (how many bytes, list at)` and `$now (seconds and nanoseconds at)`.
    pub fn chance_and_time(self) -> Self {
        self.import(
            "random",
            r#"(import "wasi:random/random@0.2.0" (instance $random
                (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
            "#,
            &[("get-random-bytes", "random", "(param i64 i32)")],
        )
        .import(
            "wall",
            r#"(import "wasi:clocks/wall-clock@0.2.0" (instance $wall
                (type $d (record (field "seconds" u64) (field "nanoseconds" u32)))
                (export "datetime" (type $datetime (eq $d)))
                (export "now" (func (result $datetime)))))
            "#,
            &[("now", "now", "(param i32)")],
        )
    }

    /// `$stdin -> handle` and `$read (handle, how many bytes, result at)`.
    pub fn stdin(self) -> Self {
        self.stream(
            "input",
            "blocking-read",
            r#"(param "len" u64) (result (result (list u8) (error $failed)))"#,
            "read",
            "(param i32 i64 i32)",
        )
        .own_stream("input", "stdin")
    }
}
