//! Guests for the sandbox's tests: `task.wat` with its places filled, and the imports they use.

/// What fills the places of `task.wat`.
#[derive(Default, Clone)]
pub struct Guest {
    imports: String,
    lowered: String,
    core_imports: String,
    with: String,
    data: String,
    functions: String,
    realloc: String,
    describe: String,
    run: String,
}

/// A task whose `run` has this body. It may call `$ok`, `$empty` and what it imports.
pub fn run(body: &str) -> Guest {
    Guest {
        run: body.to_owned(),
        ..Guest::default()
    }
}

impl Guest {
    /// Adds core functions, globals or a start function.
    pub fn functions(mut self, text: &str) -> Self {
        self.functions += text;
        self
    }

    /// Adds data segments. Free for them: 256 to 511, 2048 to 8191.
    pub fn data(mut self, text: &str) -> Self {
        self.data += text;
        self
    }

    /// Code at the start of `realloc`.
    pub fn realloc(mut self, text: &str) -> Self {
        self.realloc += text;
        self
    }

    /// Code before the end of `describe`.
    pub fn describe(mut self, text: &str) -> Self {
        self.describe += text;
        self
    }

    /// Imports an interface and lowers some of its functions: (component name, core name, core type).
    fn import(mut self, instance: &str, types: &str, functions: &[(&str, &str, &str)]) -> Self {
        self.imports += types;
        for (name, core, signature) in functions {
            self.lowered += &format!(
                "(alias export ${instance} \"{name}\" (func ${core}))\n(core func ${core}-core (canon lower (func ${core}) (memory $memory) (realloc $realloc)))\n"
            );
            self.core_imports +=
                &format!("(import \"host\" \"{core}\" (func ${core} {signature}))\n");
            self.with += &format!("(export \"{core}\" (func ${core}-core))\n");
        }
        self
    }

    /// `$log (level, message, length, fields, count)`.
    pub fn log(self) -> Self {
        self.import(
            "log",
            r#"(import "flowweaver:log/log@0.1.0" (instance $log
                (type $l (enum "trace" "debug" "info" "warn" "error"))
                (export "level" (type $level (eq $l)))
                (export "write" (func (param "level" $level) (param "message" string) (param "fields" (list (tuple string string)))))))
            "#,
            &[("write", "log", "(param i32 i32 i32 i32 i32)")],
        )
    }

    /// `$attempt -> number` and `$trace-id (result at)`.
    pub fn context(self) -> Self {
        self.import(
            "context",
            r#"(import "flowweaver:context/context@0.1.0" (instance $context
                (export "attempt" (func (result u32)))
                (export "trace-id" (func (result string)))))
            "#,
            &[
                ("attempt", "attempt", "(result i32)"),
                ("trace-id", "trace-id", "(param i32)"),
            ],
        )
    }

    /// `$request (method, length, url, length) -> handle`.
    pub fn http(self) -> Self {
        self.import(
            "http",
            r#"(import "flowweaver:http/client@0.1.0" (instance $http
                (export "request" (type $request (sub resource)))
                (export "[constructor]request" (func (param "method" string) (param "url" string) (result (own $request))))))
            "#,
            &[("[constructor]request", "request", "(param i32 i32 i32 i32) (result i32)")],
        )
    }

    /// `$exit (0 for success, 1 for failure)`.
    pub fn exit(self) -> Self {
        self.import(
            "exit",
            r#"(import "wasi:cli/exit@0.2.0" (instance $exit
                (export "exit" (func (param "status" (result))))))
            "#,
            &[("exit", "exit", "(param i32)")],
        )
    }

    /// `$environment`, `$arguments` and `$directories`, each writing a list's pointer and length.
    pub fn surroundings(self) -> Self {
        self.import(
            "environment",
            r#"(import "wasi:cli/environment@0.2.0" (instance $environment
                (export "get-environment" (func (result (list (tuple string string)))))
                (export "get-arguments" (func (result (list string))))))
            "#,
            &[("get-environment", "environment", "(param i32)"), ("get-arguments", "arguments", "(param i32)")],
        )
        .import(
            "preopens",
            r#"(import "wasi:filesystem/types@0.2.0" (instance $files (export "descriptor" (type (sub resource)))))
            (alias export $files "descriptor" (type $descriptor))
            (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
                (alias outer 1 $descriptor (type $d))
                (export "descriptor" (type $own (eq $d)))
                (export "get-directories" (func (result (list (tuple (own $own) string)))))))
            "#,
            &[("get-directories", "directories", "(param i32)")],
        )
    }

    /// `$network -> handle` and `$resolve (network, name, length, result at)`.
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
                (export "error-code" (type (eq $codes)))))
            (alias export $network-types "network" (type $network-type))
            (alias export $network-types "error-code" (type $network-error))
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
    }

    /// `$stdout -> handle` and `$print (handle, text, length, result at)`.
    pub fn stdout(self) -> Self {
        self.import(
            "streams",
            r#"(import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
            (alias export $io-error "error" (type $io-error-type))
            (import "wasi:io/streams@0.2.0" (instance $streams
                (alias outer 1 $io-error-type (type $x))
                (export "error" (type $e (eq $x)))
                (export "output-stream" (type $stream (sub resource)))
                (type $v (variant (case "last-operation-failed" (own $e)) (case "closed")))
                (export "stream-error" (type $failed (eq $v)))
                (export "[method]output-stream.blocking-write-and-flush"
                    (func (param "self" (borrow $stream)) (param "contents" (list u8)) (result (result (error $failed)))))))
            (alias export $streams "output-stream" (type $output-stream))
            (import "wasi:cli/stdout@0.2.0" (instance $stdout-instance
                (alias outer 1 $output-stream (type $x))
                (export "output-stream" (type $stream (eq $x)))
                (export "get-stdout" (func (result (own $stream))))))
            "#,
            &[("[method]output-stream.blocking-write-and-flush", "print", "(param i32 i32 i32 i32)")],
        )
        .import("stdout-instance", "", &[("get-stdout", "stdout", "(result i32)")])
    }

    /// `$timer (nanoseconds) -> handle` and `$wait (handle)`.
    pub fn timer(self) -> Self {
        self.import(
            "poll",
            r#"(import "wasi:io/poll@0.2.0" (instance $poll
                (export "pollable" (type $p (sub resource)))
                (export "[method]pollable.block" (func (param "self" (borrow $p))))))
            (alias export $poll "pollable" (type $pollable))
            (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
                (alias outer 1 $pollable (type $x))
                (export "pollable" (type $p (eq $x)))
                (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
            "#,
            &[("[method]pollable.block", "wait", "(param i32)")],
        )
        .import(
            "clock",
            "",
            &[("subscribe-duration", "timer", "(param i64) (result i32)")],
        )
    }

    /// `$make (representation) -> handle` of a resource that the guest itself defines.
    pub fn resource(mut self) -> Self {
        self.lowered +=
            "(type $own (resource (rep i32)))\n(core func $make-core (canon resource.new $own))\n";
        self.core_imports += "(import \"host\" \"make\" (func $make (param i32) (result i32)))\n";
        self.with += "(export \"make\" (func $make-core))\n";
        self
    }

    /// An import that nobody provides.
    pub fn unknown(self) -> Self {
        self.import(
            "evil",
            r#"(import "evil:shell/exec@1.0.0" (instance $evil (export "run" (func))))
            "#,
            &[("run", "evil", "")],
        )
    }

    /// The component's text.
    pub fn wat(&self) -> String {
        let with = if self.with.is_empty() {
            String::new()
        } else {
            format!("(with \"host\" (instance {}))", self.with)
        };
        [
            (";;@imports", self.imports.as_str()),
            (";;@lowered", &self.lowered),
            (";;@core-imports", &self.core_imports),
            (";;@with", &with),
            (";;@data", &self.data),
            (";;@functions", &self.functions),
            (";;@realloc", &self.realloc),
            (";;@describe", &self.describe),
            (";;@run", &self.run),
        ]
        .into_iter()
        .fold(
            include_str!("task.wat").to_owned(),
            |text, (place, filling)| text.replace(place, filling),
        )
    }

    /// The component.
    pub fn bytes(&self) -> Vec<u8> {
        let wat = self.wat();
        wat::parse_str(&wat).unwrap_or_else(|error| panic!("{error}\n{wat}"))
    }

    /// The component with its description in the section that the Rust SDK writes.
    pub fn described(&self) -> Vec<u8> {
        let mut bytes = self.bytes();
        let (name, text) = (
            b"flowweaver:task",
            br#"{"name":"described","requires":["http"]}"#,
        );
        let length = 1 + name.len() + text.len();
        bytes.extend([0, length as u8, name.len() as u8]);
        bytes.extend(name);
        bytes.extend(text);
        bytes
    }
}
