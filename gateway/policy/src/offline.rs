//! A plugin without a gateway: for authors' tests, measurements and replays.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tidegate_types::{
    policy::Who,
    route::Topology,
    settings::Grant,
    tenant::{ClassId, Tenants},
};
use wasmtime::Engine;

use crate::{
    bindings::{Directories, Kind, Op, Request, RowChange},
    custom::CustomCounters,
    description::{Description, HookInputs},
    engine,
    error::{Refusal, RefusalReason},
    guest::{Blueprint, GuestFailure, Instance},
    hook::Hook,
    inputs::Declared,
    loader::{self, Compiled, Environment, Loader},
    metrics::FailureKind,
    phrase,
    question::{Answer, ChangedHow, ChangedRow, Given, Operation, Question},
    vault::digest_of,
};

/// Wall-clock budget of a call: nobody waits, and machines that build are busy.
const BUDGET: Duration = Duration::from_secs(2);

/// Whether instructions are counted. Counting makes calls slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fuel {
    /// They are not.
    Off,
    /// They are.
    Counted,
}

/// What a plugin is given.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its configuration.
    pub config: serde_json::Value,
    /// The shards.
    pub topology: Arc<Topology>,
    /// The tenants and their shards; any other is on all of them.
    pub tenants: Arc<Tenants>,
    /// Directories it may look into.
    pub directories: HashMap<String, HashMap<String, String>>,
    /// What it may import.
    pub grants: Vec<Grant>,
    /// Bytes of linear memory.
    pub max_memory: usize,
    /// Whether instructions are counted.
    pub fuel: Fuel,
}

impl Options {
    /// The usual grants and limits, on these shards.
    #[must_use]
    pub fn on(topology: Arc<Topology>) -> Self {
        Self {
            config: serde_json::Value::Object(serde_json::Map::new()),
            tenants: Arc::new(Tenants::none(&topology)),
            topology,
            directories: HashMap::new(),
            grants: vec![Grant::Log, Grant::Metrics, Grant::Topology, Grant::Directory],
            max_memory: 64 << 20,
            fuel: Fuel::Off,
        }
    }
}

/// How long the steps of loading took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// From bytes to machine code.
    pub compile: Duration,
    /// From kept machine code to code that runs.
    pub deserialise: Duration,
    /// One instance, configured.
    pub instance: Duration,
}

/// A compiled plugin, not configured yet. Compiling takes up to seconds; configuring it does not.
pub struct Plugin {
    engine: Engine,
    compiled: Arc<Compiled>,
    description: Description,
    code: Arc<Kept>,
    compile: Duration,
}

/// A loaded plugin.
pub struct Guest {
    description: Description,
    hooks: Vec<(Hook, HookInputs)>,
    environment: Environment,
    blueprint: Blueprint,
    instance: Instance,
    names: Names,
    fuel: Option<u64>,
    detail: Option<String>,
}

/// Numbers for the names of tenants, classes and collections, as they come.
#[derive(Default)]
struct Names(HashMap<(&'static str, String), u32>);

impl Names {
    fn number(&mut self, kind: &'static str, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let next = u32::try_from(self.0.len() + 1).unwrap_or(u32::MAX);
        *self.0.entry((kind, name.to_owned())).or_insert(next)
    }
}

impl Plugin {
    /// Compiles a plugin as the gateway does, and asks it what it is.
    ///
    /// # Errors
    /// The gateway would refuse it, whatever its configuration is.
    pub fn compile(bytes: &[u8], fuel: Fuel) -> Result<Self, Refusal> {
        let refused = |step| refusal(&digest_of(bytes), step);
        let engine = match fuel {
            Fuel::Off => engine::shared(),
            Fuel::Counted => engine::counting(),
        };
        let engine = engine.map_err(|detail| refused((RefusalReason::Engine, detail)))?;
        let code = Arc::new(Kept::default());
        let loader = loader_on(&engine, Some(code.clone()));
        let start = Instant::now();
        let compiled = loader.compile(bytes).map_err(refused)?;
        let compile = start.elapsed();
        let options = Options::on(Arc::new(Topology::new(["only".into()])));
        let blueprint = blueprint(&loader, &compiled, &options, &options.environment()).map_err(refused)?;
        let (_, (description, _)) = loader.describe(&compiled, &blueprint).map_err(refused)?;
        Ok(Self { engine, compiled, description, code, compile })
    }

    /// What it says it is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Configures and self-tests it. Whether it counts instructions was decided when it was compiled.
    ///
    /// # Errors
    /// The gateway would refuse it.
    pub fn configure(&self, options: &Options) -> Result<Guest, Refusal> {
        let refused = |step| refusal(&self.compiled.digest, step);
        let loader = loader_on(&self.engine, None);
        let environment = options.environment();
        let blueprint = blueprint(&loader, &self.compiled, options, &environment).map_err(refused)?;
        let (description, hooks) = loader.rehearse(&self.compiled, &blueprint, &options.config).map_err(refused)?;
        let instance = Instance::ready(&blueprint).map_err(|failure| refused(not_ready(&failure)))?;
        let (names, fuel, detail) = (Names::default(), None, None);
        Ok(Guest { description, hooks, environment, blueprint, instance, names, fuel, detail })
    }

    /// How long it takes to come up.
    ///
    /// # Errors
    /// The gateway would refuse it.
    pub fn timings(&self, bytes: &[u8], options: &Options) -> Result<Timings, Refusal> {
        let refused = |step| refusal(&self.compiled.digest, step);
        let loader = loader_on(&self.engine, Some(self.code.clone()));
        let start = Instant::now();
        let compiled = loader.compile(bytes).map_err(refused)?;
        let deserialise = start.elapsed();
        let blueprint = blueprint(&loader, &compiled, options, &options.environment()).map_err(refused)?;
        let ready = || Instance::ready(&blueprint).map_err(|failure| refused(not_ready(&failure)));
        // The first one touches memory that later ones find warm.
        drop(ready()?);
        let start = Instant::now();
        drop(ready()?);
        Ok(Timings { compile: self.compile, deserialise, instance: start.elapsed() })
    }
}

impl Options {
    fn environment(&self) -> Environment {
        let copies = self.directories.iter().map(|(name, copy)| (name.clone(), Arc::new(copy.clone())));
        let directories: Directories = copies.collect();
        Environment {
            topology: self.topology.clone(),
            tenants: self.tenants.clone(),
            directories: Arc::new(directories),
        }
    }
}

fn refusal(digest: &str, (reason, detail): (RefusalReason, String)) -> Refusal {
    Refusal { origin: "this file".into(), digest: digest.to_owned(), reason, detail }
}

fn not_ready(failure: &GuestFailure) -> (RefusalReason, String) {
    (RefusalReason::Lifecycle, format!("a further instance failed: {failure}"))
}

fn loader_on(engine: &Engine, code: Option<Arc<Kept>>) -> Loader {
    let code = code.map(|code| code as Arc<dyn loader::Artifacts>);
    Loader::on(engine.clone(), usize::MAX, BUDGET, CustomCounters::default(), code)
}

fn blueprint(
    loader: &Loader,
    compiled: &Compiled,
    options: &Options,
    environment: &Environment,
) -> loader::Step<Blueprint> {
    let blueprint = loader.blueprint(&"offline".into(), compiled, &options.config, &options.grants, environment)?;
    Ok(Blueprint { max_memory: options.max_memory, ..blueprint })
}

impl Guest {
    /// Loads a plugin as the gateway does: compiled, described, configured, self-tested.
    ///
    /// # Errors
    /// The gateway would refuse it.
    pub fn load(bytes: &[u8], options: &Options) -> Result<Self, Refusal> {
        Plugin::compile(bytes, options.fuel)?.configure(options)
    }

    /// What the plugin says it is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Asks it. An instance that failed is replaced.
    pub fn ask(&mut self, question: &Question) -> Answer {
        self.instance.fuel_used();
        let answer = self.attempt(question);
        self.fuel = self.instance.fuel_used();
        if let Err(failure) = &answer
            && failure.kind != FailureKind::PolicyError
            && let Ok(fresh) = Instance::ready(&self.blueprint)
        {
            self.instance = fresh;
        }
        self.detail = answer.as_ref().err().map(|failure| failure.detail.clone());
        answer.unwrap_or_else(|failure| phrase::failure(&failure))
    }

    /// What the plugin or the gateway said about the last call, if it gave no answer.
    #[must_use]
    pub fn why_no_answer(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// Asks a new instance, made for this question.
    pub fn ask_fresh(&mut self, question: &Question) -> Answer {
        match Instance::ready(&self.blueprint) {
            Ok(fresh) => {
                self.instance = fresh;
                self.ask(question)
            }
            Err(failure) => phrase::failure(&failure),
        }
    }

    /// Instructions of the last call, where they are counted.
    #[must_use]
    pub fn fuel_of_last_call(&self) -> Option<u64> {
        self.fuel
    }

    /// Bytes of linear memory in use.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.instance.memory()
    }

    /// What the question's hook declares, by name.
    #[must_use]
    pub fn inputs(&self, hook: Hook) -> Option<Vec<String>> {
        let (_, inputs) = self.hooks.iter().find(|(of, _)| *of == hook)?;
        Some(inputs.inputs.iter().map(Declared::describe).collect())
    }

    fn attempt(&mut self, question: &Question) -> Result<Answer, GuestFailure> {
        let missing = || GuestFailure::new(FailureKind::BadAnswer, "the plugin does not have this hook");
        let (_, declared) = self.hooks.iter().find(|(hook, _)| *hook == question.hook).ok_or_else(missing)?;
        let (tenant, class, collection) = (
            self.names.number("tenant", &question.tenant),
            self.names.number("class", &question.class),
            self.names.number("collection", &question.collection),
        );
        if question.hook == Hook::Invalidate {
            let images: Vec<_> = question.changes.iter().map(|change| images(change, &declared.inputs)).collect();
            let rows: Vec<_> = question.changes.iter().zip(&images).map(row).collect();
            return self.instance.invalidate((tenant, class), &rows, BUDGET).map(phrase::actions);
        }
        let inputs: Vec<Option<&str>> = declared.inputs.iter().map(|input| given(question, input)).collect();
        let op = match question.op {
            Operation::Read => Op::Read,
            Operation::Write => Op::Write,
        };
        let request = Request { tenant, class, op, collection, inputs: &inputs };
        match question.hook {
            Hook::Classify => self.instance.classify(request, BUDGET).map(phrase::classified),
            Hook::Route => {
                let targets = self.instance.route(request, BUDGET)?;
                let tenants = &self.environment.tenants;
                let tenant = tenants.by_name(&question.tenant).unwrap_or(tenants.shared()).id;
                let who = Who { tenant, class: ClassId(class) };
                phrase::routed(targets, &self.environment.topology, tenants, who)
            }
            Hook::CachePolicy | Hook::Invalidate => {
                self.instance.decide(request, BUDGET).map(|decision| phrase::kept(decision, &declared.inputs))
            }
        }
    }
}

/// Compiled code in memory, to measure taking it up again.
#[derive(Default)]
struct Kept(parking_lot::Mutex<HashMap<(String, String), Vec<u8>>>);

impl loader::Artifacts for Kept {
    fn get(&self, digest: &str, engine: &str) -> Option<Vec<u8>> {
        self.0.lock().get(&(digest.to_owned(), engine.to_owned())).cloned()
    }

    fn keep(&self, digest: &str, engine: &str, code: &[u8]) {
        self.0.lock().insert((digest.to_owned(), engine.to_owned()), code.to_vec());
    }
}

/// The value of a declared input in a question.
fn given<'a>(question: &'a Question, input: &Declared) -> Option<&'a str> {
    match question.inputs.get(&input.describe()) {
        Some(Given::Text(text)) => Some(text),
        Some(Given::Absent(()) | Given::Redacted { .. }) => None,
        None => match input {
            // Said of the question as a whole.
            Declared::Collection => Some(&question.collection),
            Declared::Tenant => Some(&question.tenant),
            Declared::Class => Some(&question.class),
            _ => None,
        }
        .map(String::as_str)
        .filter(|text| !text.is_empty()),
    }
}

type Images<'a> = (Vec<Option<&'a str>>, Vec<Option<&'a str>>);

fn images<'a>(change: &'a ChangedRow, declared: &[Declared]) -> Images<'a> {
    let values = |image: &'a std::collections::BTreeMap<String, Option<String>>| {
        let value = |input: &Declared| match input {
            Declared::Column(name) => image.get(name)?.as_deref(),
            _ => None,
        };
        declared.iter().map(value).collect::<Vec<_>>()
    };
    let gone = matches!(change.kind, ChangedHow::Delete | ChangedHow::Truncate);
    let new = matches!(change.kind, ChangedHow::Insert | ChangedHow::Truncate);
    (if new { Vec::new() } else { values(&change.old) }, if gone { Vec::new() } else { values(&change.new) })
}

fn row<'a>((change, (old, new)): (&'a ChangedRow, &'a Images<'a>)) -> RowChange<'a> {
    RowChange {
        collection: &change.collection,
        key: &change.key,
        kind: match change.kind {
            ChangedHow::Insert => Kind::Insert,
            ChangedHow::Update => Kind::Update,
            ChangedHow::Delete => Kind::Delete,
            ChangedHow::Truncate => Kind::Truncate,
        },
        old,
        new,
    }
}
