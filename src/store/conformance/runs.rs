//! Many steps at once.

use bytes::Bytes;

use super::{World, add, delete, key, make, one_in, set, set_if, space, value_in};
use crate::model::{Eviction, Key, Keys, NamespaceName, Policy};
use crate::store::{
    Answer, Batch, Command, Condition, Error, Expiration, Operation, Outcome, Refusal, Settings,
    Step, Store, VALUES_BYTES_MAX, View,
};

fn get(namespace: &str, name: &str) -> Step {
    Step::new(space(namespace), Operation::Get { key: key(name), view: View::Value })
}

fn get_many(namespace: &str, names: &[&str]) -> Step {
    let keys: Keys = names.iter().map(|name| key(name)).collect();
    Step::new(space(namespace), Operation::GetMany { keys, view: View::Value })
}

fn write(namespace: &str, command: Command) -> Step {
    Step::new(space(namespace), Operation::Write(command))
}

fn batch(namespace: &str, commands: Vec<Command>, atomic: bool) -> Step {
    Step::new(space(namespace), Operation::Batch(Batch { commands, atomic }))
}

/// What came of a step, without versions and times.
fn told(answer: &Result<Answer, Error>) -> String {
    let text = |value: &[u8]| match value.len() {
        0..50 => String::from_utf8_lossy(value).into_owned(),
        long => format!("{long} bytes"),
    };
    let outcome = |outcome: &Result<Outcome, Refusal>| match outcome {
        Ok(Outcome::Set { applied, previous, .. }) => {
            let previous = previous.as_ref().map(|entry| text(&entry.value));
            format!("set {applied} {}", previous.unwrap_or_default())
        }
        Ok(Outcome::Delete { deleted, .. }) => format!("deleted {deleted}"),
        Ok(Outcome::Touch { applied, .. }) => format!("touched {applied}"),
        Ok(Outcome::Increment { value, .. }) => format!("is {value}"),
        Ok(Outcome::Check { held, .. }) => format!("held {held}"),
        Err(refusal) => format!("no: {refusal}"),
    };
    match answer {
        Ok(Answer::Get(entry)) => match entry {
            Some(entry) => text(&entry.value),
            None => "none".to_owned(),
        },
        Ok(Answer::GetMany(found)) => {
            let entries = found.iter();
            let entries = entries.map(|e| e.map_or("none".to_owned(), |entry| text(entry.value)));
            entries.collect::<Vec<_>>().join(",")
        }
        Ok(Answer::Write(ruling)) => outcome(ruling),
        Ok(Answer::Batch { outcomes, committed }) => {
            let outcomes: Vec<_> = outcomes.iter().map(outcome).collect();
            format!("{} {committed}", outcomes.join(","))
        }
        Err(error) => format!("error: {error}"),
    }
}

async fn run(store: &impl Store, mut steps: Vec<Step>) -> Vec<String> {
    let answers = store.run(&mut steps).await;
    assert_eq!(answers.len(), steps.len());
    answers.iter().map(told).collect()
}

pub(crate) async fn steps_are_done_in_order_and_see_each_other(world: &impl World) {
    let store = world.store();
    let steps = vec![
        get("n", "a"),
        write("n", set("a", "1")),
        get("n", "a"),
        write("n", add("a", 41)),
        write("n", set("b", "x")),
        get_many("n", &["a", "b", "c"]),
        batch("n", vec![set("c", "y"), delete("b")], true),
        get("n", "b"),
        get("n", "c"),
        write("n", delete("a")),
        get_many("n", &["c", "b", "a"]),
    ];
    let expected = [
        "none",
        "set true ",
        "1",
        "is 42",
        "set true ",
        "42,x,none",
        "set true ,deleted true true",
        "none",
        "y",
        "deleted true",
        "y,none,none",
    ];
    assert_eq!(run(store, steps).await, expected);
    assert_eq!(run(store, vec![]).await, [""; 0]);
}

pub(crate) async fn a_failed_step_does_not_touch_the_others(world: &impl World) {
    let store = world.store();
    let policy = Policy { value_bytes_max: Some(8), ..Policy::default() };
    make(store, "n", policy).await;
    let steps = vec![
        write("n", set("a", "1")),
        write("n", set("a", "far too long")),
        write("n", set_if("a", "2", Some(Condition::Absent))),
        write("n", set("word", "w")),
        write("n", add("word", 1)),
        batch("n", vec![set("b", "1"), add("word", 1)], true),
        batch("n", vec![set("c", "1"), add("word", 1)], false),
        get_many("n", &["a", "b", "c"]),
    ];
    let number = "no: the value is not a decimal 64-bit integer";
    let expected = [
        "set true ",
        "no: the value has 12 bytes, at most 8 are allowed here",
        "set false ",
        "set true ",
        number,
        "error: operation 1: the value is not a decimal 64-bit integer",
        &format!("set true ,{number} true"),
        "1,none,1",
    ];
    assert_eq!(run(store, steps).await, expected);
}

pub(crate) async fn steps_of_several_namespaces_keep_their_order(world: &impl World) {
    let store = world.store();
    let mut steps = Vec::new();
    let mut expected = Vec::new();
    for n in 0..30_i64 {
        for namespace in ["a", "b", "b", "c"] {
            steps.push(write(namespace, add("counter", 1)));
            expected.push(match namespace {
                "b" if expected.len() % 4 == 1 => format!("is {}", 2 * n + 1),
                "b" => format!("is {}", 2 * n + 2),
                _ => format!("is {}", n + 1),
            });
        }
    }
    assert_eq!(run(store, steps).await, expected);
}

pub(crate) async fn a_namespace_that_is_not_there_is_empty_until_it_is_written_to(
    world: &impl World,
) {
    let store = world.store();
    let steps = || {
        vec![
            get("n", "a"),
            write("n", delete("a")),
            get_many("n", &["a", "b"]),
            batch("n", vec![delete("a")], true),
            write("n", set("a", "1")),
            get("n", "a"),
            get("default", "a"),
        ]
    };
    let expected =
        ["none", "deleted false", "none,none", "deleted false true", "set true ", "1", "none"];
    assert_eq!(run(store, steps()).await, expected);
    store.delete_namespace(&space("n"), true).await.unwrap();
    store.apply_settings(Settings { auto_create_namespaces: false, ..store.settings() });
    let missing = r#"error: there is no namespace "n""#;
    let mut expected = vec![missing; 6];
    expected.push("none");
    assert_eq!(run(store, steps()).await, expected);
}

pub(crate) async fn a_read_only_store_does_the_reads_of_a_run(world: &impl World) {
    let store = world.store();
    one_in(store, "n", set("a", "1")).await;
    store.apply_settings(Settings { read_only: true, ..store.settings() });
    let steps = vec![
        get("n", "a"),
        write("n", set("a", "2")),
        write("n", delete("a")),
        write("fresh", set("a", "2")),
        get("fresh", "a"),
        get("n", "a"),
    ];
    let refused = "error: the server takes no writes at the moment";
    assert_eq!(run(store, steps).await, ["1", refused, refused, refused, "none", "1"]);
}

pub(crate) async fn a_rate_refuses_steps_and_not_their_neighbours(world: &impl World) {
    let store = world.store();
    let most = std::num::NonZeroU64::new(5).map(crate::model::Bound::AtMost);
    make(store, "n", Policy { operations_per_second_max: most, ..Policy::default() }).await;
    let mut steps = vec![write("n", set("a", "1")), get_many("n", &["a", "b"])];
    // Even a machine that needs seconds for this lets a few in and not all.
    steps.extend((0..200).map(|_| get("n", "a")));
    steps.push(get("default", "a"));
    let answers = run(store, steps).await;
    assert_eq!(answers[..4], ["set true ", "1,none", "1", "1"]);
    let refused = answers.iter().filter(|answer| answer.contains("rate limit")).count();
    assert!((1..199).contains(&refused), "{refused}");
    assert_eq!(answers.last().map(String::as_str), Some("none"));
    let stats = store.namespace_stats(&space("n")).await.unwrap();
    assert_eq!(stats.rate_limit_rejections, refused as u64);
}

pub(crate) async fn values_beyond_one_answer_come_with_the_next_run(world: &impl World) {
    let store = world.store();
    let most = std::num::NonZeroU64::new(60).map(crate::model::Bound::AtMost);
    make(store, "n", Policy { operations_per_second_max: most, ..Policy::default() }).await;
    let value = "x".repeat(VALUES_BYTES_MAX / 8);
    one_in(store, "n", set("a", &value)).await;
    let swap = |n: u8| Command::Set {
        key: key("b"),
        value: Bytes::from(vec![n; VALUES_BYTES_MAX / 4]),
        expiration: Expiration::Default,
        condition: None,
        return_previous: true,
    };
    let mut rest: Vec<Step> = (0..40).map(|_| get("n", "a")).collect();
    rest.extend((0..10).map(|n| write("n", swap(n))));
    let (mut answers, mut runs) = (Vec::new(), 0);
    while !rest.is_empty() {
        let done = store.run(&mut rest).await;
        let bytes: usize = done.iter().map(values_bytes).sum();
        assert!(!done.is_empty() && bytes <= 2 * VALUES_BYTES_MAX, "{bytes}");
        rest.drain(..done.len());
        answers.extend(done.iter().map(told));
        runs += 1;
    }
    assert!(runs >= 7, "{runs}");
    assert!(answers[..40].iter().all(|answer| answer == "524288 bytes"), "{answers:?}");
    assert_eq!(answers[40..42], ["set true ", "set true 1048576 bytes"]);
    // Nobody was counted twice: neither in the counters nor, with 51 of 60 in a second, by the rate.
    assert_eq!(store.namespace_stats(&space("n")).await.unwrap().hits, 40);
    assert_eq!(value_in(store, "n", "b").await.unwrap().as_bytes()[0], 9);
}

fn values_bytes(answer: &Result<Answer, Error>) -> usize {
    match answer {
        Ok(Answer::Get(entry)) => entry.as_ref().map_or(0, |entry| entry.value.len()),
        Ok(Answer::GetMany(found)) => found.values_bytes(),
        Ok(Answer::Write(Ok(Outcome::Set { previous, .. }))) => {
            previous.as_ref().map_or(0, |entry| entry.value.len())
        }
        Ok(Answer::Write(_) | Answer::Batch { .. }) | Err(_) => 0,
    }
}

pub(crate) async fn a_run_makes_room_as_single_writes_do(world: &impl World) {
    let store = world.store();
    store.apply_settings(Settings { total_bytes_max: 1 << 20, ..store.settings() });
    let large = "x".repeat(4096);
    let sets = |namespace: &str, count| {
        let set = |n| write(namespace, set(&format!("k{n}"), &large));
        (0..count).map(set).collect::<Vec<Step>>()
    };
    run(store, sets("greedy", 500)).await;
    let usage = async |name| store.namespace(&space(name)).await.unwrap().usage;
    let greedy = usage("greedy").await;
    assert!(greedy.bytes <= 1 << 20 && greedy.keys > 200, "{greedy:?}");
    run(store, sets("small", 100)).await;
    assert_eq!(usage("small").await.keys, 100, "who is below the fair share takes from the other");
    let (small, greedy) = (usage("small").await, usage("greedy").await);
    assert!(small.bytes + greedy.bytes <= 1 << 20, "{small:?} {greedy:?}");
    // Nobody pays for what is refused.
    store.apply_settings(Settings { read_only: true, ..store.settings() });
    run(store, sets("small", 50)).await;
    assert_eq!(usage("greedy").await, greedy);
}

/// A sequence of numbers that look random; the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn choose(&mut self, end: u64) -> usize {
        usize::try_from(self.below(end)).unwrap()
    }

    fn command(&mut self) -> Command {
        let name = format!("k{}", self.below(12));
        let value = ["1", "22", "333", "4444", "55555555"][self.choose(5)];
        let condition = match self.below(4) {
            0 => Some(Condition::Absent),
            1 => Some(Condition::Present),
            _ => None,
        };
        match self.below(8) {
            0 => delete(&name),
            1 => add(&name, 1),
            2 => Command::Touch {
                key: key(&name),
                expiration: Expiration::Never,
                condition: None,
                view: [View::Metadata, View::Full][self.choose(2)],
            },
            3 => Command::Set {
                key: key(&name),
                value: Bytes::from(value),
                expiration: Expiration::Default,
                condition: None,
                return_previous: true,
            },
            _ => set_if(&name, value, condition),
        }
    }

    fn operation(&mut self) -> Operation {
        match self.below(10) {
            0..3 => Operation::Get { key: key(&format!("k{}", self.below(12))), view: View::Full },
            3 => {
                let keys = (0..=self.below(5)).map(|_| key(&format!("k{}", self.below(12))));
                Operation::GetMany { keys: keys.collect::<Keys>(), view: View::Value }
            }
            4 => {
                let commands = (0..=self.below(3)).map(|_| self.command()).collect();
                Operation::Batch(Batch { commands, atomic: self.below(2) == 0 })
            }
            _ => Operation::Write(self.command()),
        }
    }
}

/// The same by the single verbs.
async fn alone(
    store: &impl Store,
    namespace: &NamespaceName,
    operation: Operation,
) -> Result<Answer, Error> {
    let one = |command| Batch { commands: vec![command], atomic: false };
    match operation {
        Operation::Get { key, view } => store.get(namespace, &key, view).await.map(Answer::Get),
        Operation::GetMany { keys, view } => {
            store.get_many(namespace, &keys, view).await.map(Answer::GetMany)
        }
        Operation::Write(command) => {
            let mut written = store.write(namespace, one(command)).await?;
            Ok(Answer::Write(written.outcomes.remove(0)))
        }
        Operation::Batch(batch) => {
            let written = store.write(namespace, batch).await?;
            let (outcomes, committed) = (written.outcomes, written.committed);
            Ok(Answer::Batch { outcomes, committed })
        }
    }
}

pub(crate) async fn a_run_comes_to_what_its_steps_come_to_one_by_one(world: &impl World) {
    let store = world.store();
    let seed = 88_172_645_463_325_252;
    println!("seed {seed}");
    let mut numbers = Numbers(seed);
    for (round, eviction) in [Eviction::Lru, Eviction::None].into_iter().enumerate() {
        let keys_max = std::num::NonZeroU64::new(7).map(crate::model::Bound::AtMost);
        let names = [format!("run{round}"), format!("alone{round}")];
        for name in &names {
            let eviction = Some(eviction);
            make(store, name, Policy { keys_max, eviction, ..Policy::default() }).await;
        }
        for turn in 0..400 {
            let count = 1 + numbers.below(40);
            let state = numbers.0;
            let draw = |numbers: &mut Numbers| (0..count).map(|_| numbers.operation()).collect();
            let together: Vec<Operation> = draw(&mut numbers);
            let singly: Vec<Operation> = draw(&mut Numbers(state));
            let step = |operation| Step::new(space(&names[0]), operation);
            let told_together = run(store, together.into_iter().map(step).collect()).await;
            let mut told_singly = Vec::new();
            for operation in singly {
                told_singly.push(told(&alone(store, &space(&names[1]), operation).await));
            }
            assert_eq!(told_together, told_singly, "turn {turn}, state {state}");
        }
        let stats = async |name: &str| store.namespace_stats(&space(name)).await.unwrap();
        let (a, b) = (stats(&names[0]).await, stats(&names[1]).await);
        assert_eq!(
            (a.usage.keys, a.usage.bytes, a.hits, a.misses, a.sets, a.evictions),
            (b.usage.keys, b.usage.bytes, b.hits, b.misses, b.sets, b.evictions)
        );
        let all: Keys = (0..12).map(|n| Key::parse(format!("k{n}")).unwrap()).collect();
        let read = async |name: &str| store.get_many(&space(name), &all, View::Value).await;
        let (a, b) = (read(&names[0]).await.unwrap(), read(&names[1]).await.unwrap());
        let values = |found: &crate::store::Found| {
            found.iter().map(|entry| entry.map(|e| e.value.to_vec())).collect::<Vec<_>>()
        };
        assert_eq!(values(&a), values(&b));
    }
}
