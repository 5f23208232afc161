//! When each node starts: stores and brokers, then who waits for messages, then who sends them,
//! unless `after` says more. Stopping is the reverse.

use crate::model::socket::{Pattern, Side};
use crate::topology::Topology;

/// The start rank of every node. An `after` always wins over the direction of messages; where
/// messages go round in a circle, the node written first starts first.
pub fn ranks(topology: &Topology) -> Vec<u16> {
    let count = topology.nodes.len();
    let mut graph = Graph {
        hard: vec![Vec::new(); count],
        soft: vec![Vec::new(); count],
        hard_left: vec![0; count],
        soft_left: vec![0; count],
    };
    for (node, of) in topology.nodes.iter().enumerate() {
        for after in of.after.iter().filter(|after| after.node != node) {
            graph.hard[after.node].push(node);
            graph.hard_left[node] += 1;
        }
    }
    graph.follow_messages(topology);
    let base = topology.nodes.iter().map(|node| node.role().rank).collect();
    graph.levels(base)
}

struct Graph {
    /// Who waits for a node because `after` says so.
    hard: Vec<Vec<usize>>,
    /// Who sends to a node; given up where they go round in a circle. Numbers from `count` on are
    /// legs: a leg stands between its two sides, so that many to many stays linear.
    soft: Vec<Vec<usize>>,
    hard_left: Vec<usize>,
    soft_left: Vec<usize>,
}

impl Graph {
    fn follow_messages(&mut self, topology: &Topology) {
        for leg in &topology.legs {
            let is_symmetric = match leg.pattern {
                Pattern::Mesh | Pattern::Gossip => true,
                Pattern::Request | Pattern::Pubsub | Pattern::Pipeline => false,
            };
            if is_symmetric {
                continue;
            }
            let hub = self.soft.len();
            self.hard.push(Vec::new());
            self.soft.push(Vec::new());
            self.hard_left.push(0);
            self.soft_left.push(0);
            let is_program = |node: usize| topology.nodes[node].is_program();
            for end in leg.ends(Side::To) {
                self.soft[end.node].push(hub);
                self.soft_left[hub] += 1;
            }
            // Our own roles have their rank; programs take theirs from whom they send to.
            for end in leg
                .ends(Side::From)
                .iter()
                .filter(|end| is_program(end.node))
            {
                self.soft[hub].push(end.node);
                self.soft_left[end.node] += 1;
            }
        }
    }

    /// The longest way to each node, in a time linear in the edges.
    fn levels(mut self, base: Vec<u16>) -> Vec<u16> {
        let count = base.len();
        let mut level = base;
        level.resize(self.soft.len(), 0);
        let mut is_done = vec![false; level.len()];
        let all = 0..level.len();
        let mut ready: Vec<usize> = all.clone().filter(|n| self.left(*n) == 0).rev().collect();
        let mut stuck = all.collect::<std::collections::VecDeque<_>>();
        while let Some(node) = ready.pop().or_else(|| self.give_up(&mut stuck, &is_done)) {
            if std::mem::replace(&mut is_done[node], true) {
                continue;
            }
            let is_leg = node >= count;
            let next = level[node].saturating_add(u16::from(!is_leg));
            for follower in std::mem::take(&mut self.hard[node]) {
                level[follower] = level[follower].max(next);
                self.hard_left[follower] -= 1;
                if self.left(follower) == 0 {
                    ready.push(follower);
                }
            }
            for follower in std::mem::take(&mut self.soft[node]) {
                if is_done[follower] {
                    continue;
                }
                level[follower] = level[follower].max(next);
                self.soft_left[follower] -= 1;
                if self.left(follower) == 0 {
                    ready.push(follower);
                }
            }
        }
        level.truncate(count);
        level
    }

    fn left(&self, node: usize) -> usize {
        self.hard_left[node] + self.soft_left[node]
    }

    /// In a circle of messages: the first node that waits for nobody by `after`. A circle of
    /// `after` is an error long before; its nodes are released in written order.
    fn give_up(
        &self,
        stuck: &mut std::collections::VecDeque<usize>,
        is_done: &[bool],
    ) -> Option<usize> {
        let mut turns = stuck.len();
        while let Some(node) = stuck.pop_front() {
            if is_done[node] {
                continue;
            }
            if self.hard_left[node] == 0 || turns == 0 {
                return Some(node);
            }
            stuck.push_back(node);
            turns = turns.saturating_sub(1);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::sample::topology;

    fn order(nodes: &str, links: &str) -> Vec<(String, u16)> {
        let text = format!("{{zmqnet: 1, nodes: {{{nodes}}}, links: {{{links}}}}}");
        let topology = topology(&text);
        let ranks = ranks(&topology);
        let named = topology.nodes.iter().zip(ranks);
        named
            .map(|(node, rank)| (node.name.to_string(), rank))
            .collect()
    }

    fn rank(order: &[(String, u16)], name: &str) -> u16 {
        order.iter().find(|(node, _)| node == name).unwrap().1
    }

    const THREE: &str = "a: {command: [a]}, b: {command: [b]}, c: {command: [c]}";

    #[test]
    fn receivers_start_before_senders_and_brokers_before_both() {
        let order = order(
            &format!("{THREE}, bus: {{kind: bus}}"),
            "one: {pattern: pipeline, from: a, to: b}, two: {pattern: pubsub, from: b, to: c, via: bus}",
        );
        assert_eq!(rank(&order, "bus"), 0);
        assert!(rank(&order, "c") < rank(&order, "b") || rank(&order, "bus") < rank(&order, "b"));
        assert!(rank(&order, "b") < rank(&order, "a"));
    }

    #[test]
    fn after_wins_over_the_direction_of_messages() {
        let order = order(
            "a: {command: [a]}, b: {command: [b], after: a}",
            "one: {pattern: request, from: a, to: b}",
        );
        assert!(rank(&order, "a") < rank(&order, "b"));
    }

    #[test]
    fn a_circle_of_messages_is_cut_at_the_node_written_first() {
        let order = order(
            THREE,
            "one: {pattern: pubsub, from: a, to: b}, two: {pattern: pubsub, from: b, to: c}, three: {pattern: pubsub, from: c, to: a}",
        );
        assert!(rank(&order, "a") < rank(&order, "c") && rank(&order, "c") < rank(&order, "b"));
    }

    #[test]
    fn a_long_chain_takes_no_stack() {
        let nodes: Vec<String> = (0..5_000)
            .map(|n| match n {
                0 => "n0: {command: [x]}".to_owned(),
                _ => format!("n{n}: {{command: [x], after: n{}}}", n - 1),
            })
            .collect();
        let order = order(&nodes.join(", "), "");
        assert_eq!(rank(&order, "n4999"), rank(&order, "n0") + 4_999);
    }
}
