//! Brokers and nodes without sockets, threads or clocks: the real logic of both sides ([`Broker`],
//! [`Ledger`]), fed by a scheduler that a seed drives. Packets between different pairs overtake each other,
//! connections break, brokers and nodes die at every step, nodes stop and go on. After every step the
//! broker's tables must agree, nobody may be told of an end that was none, and once everything has come to
//! rest, everyone must know everyone it has to do with.
//!
//! A seed that fails is printed; `ONECOPY_SEED=n` runs it alone, and prints every step.
//!
//! | file | one concept |
//! |---|---|
//! | `world.rs` | what there is, and the steps that may happen |
//! | `node.rs` | a node: its ledger, and what stands for its memory |
//! | `rest.rs` | what must be true once nothing moves any more |
//! | `dice.rs` | the scheduler's choices |
//!
//! [`Broker`]: crate::broker::state::Broker
//! [`Ledger`]: crate::node::ledger::Ledger

mod dice;
mod node;
mod rest;
mod world;

use self::world::World;

const SEEDS: u64 = 3000;
const STEPS: usize = 150;

fn run(seed: u64, is_told: bool) {
    let mut world = World::new(seed, is_told);
    for _ in 0..STEPS {
        world.step();
    }
    world.come_to_rest();
    world.check_rest();
}

#[test]
fn any_history_of_brokers_and_nodes_ends_with_everyone_together() {
    if let Some(seed) = std::env::var("ONECOPY_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return run(seed, true);
    }
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| run(seed, false));
        assert!(result.is_ok(), "seed {seed} fails; run it alone with ONECOPY_SEED={seed}");
    }
}
