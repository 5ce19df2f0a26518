//! Guests for the sandbox's tests: `task.wat` with its places filled, and the imports they use.

mod surroundings;

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
    pub fn import(mut self, instance: &str, types: &str, functions: &[(&str, &str, &str)]) -> Self {
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

    /// `wasi:io/streams` with one kind of stream (`input` or `output`) and one method of it; `$name` calls it.
    fn stream(self, kind: &str, method: &str, types: &str, name: &str, core: &str) -> Self {
        let stream = format!("{kind}-stream");
        let full = format!("[method]{stream}.{method}");
        self.import(
            "streams",
            &format!(
                r#"(import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
            (alias export $io-error "error" (type $io-error-type))
            (import "wasi:io/streams@0.2.0" (instance $streams
                (alias outer 1 $io-error-type (type $x))
                (export "error" (type $e (eq $x)))
                (export "{stream}" (type $stream (sub resource)))
                (type $v (variant (case "last-operation-failed" (own $e)) (case "closed")))
                (export "stream-error" (type $failed (eq $v)))
                (export "{full}"
                    (func (param "self" (borrow $stream)) {types}))))
            (alias export $streams "{stream}" (type ${stream}))
            "#
            ),
            &[(full.as_str(), name, core)],
        )
    }

    /// One of the process's own streams: `$name -> handle`.
    fn own_stream(self, kind: &str, name: &str) -> Self {
        let (instance, get) = (format!("{name}-instance"), format!("get-{name}"));
        self.import(
            &instance,
            &format!(
                r#"(import "wasi:cli/{name}@0.2.0" (instance ${instance}
                (alias outer 1 ${kind}-stream (type $x))
                (export "{kind}-stream" (type $stream (eq $x)))
                (export "{get}" (func (result (own $stream))))))
            "#
            ),
            &[(get.as_str(), name, "(result i32)")],
        )
    }

    /// `$stdout -> handle` and `$print (handle, text, length, result at)`.
    pub fn stdout(self) -> Self {
        self.stream(
            "output",
            "blocking-write-and-flush",
            r#"(param "contents" (list u8)) (result (result (error $failed)))"#,
            "print",
            "(param i32 i32 i32 i32)",
        )
        .own_stream("output", "stdout")
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
        self.described_as(r#"{"name":"described","requires":["http"]}"#)
    }

    /// The same with this text for a description.
    pub fn described_as(&self, text: &str) -> Vec<u8> {
        let mut bytes = self.bytes();
        let name = b"flowweaver:task";
        bytes.push(0);
        bytes.extend(leb128(1 + name.len() + text.len()));
        bytes.push(name.len() as u8);
        bytes.extend(name);
        bytes.extend(text.as_bytes());
        bytes
    }
}

/// A length as WASM writes it.
pub fn leb128(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}
