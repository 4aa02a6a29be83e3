//! Literals to an automaton that finds them all in one pass (Aho and Corasick, 1975), laid out as the engine walks it.
//!
//! Literals that must stand at an end of a value are looked for from that end alone, and only as far as one goes on: their automaton is a
//! plain tree, which falls back to nothing.
//!
//! The states that are visited most have a full row. The others, nearly all of which have one way on, list their ways and where to
//! fall back to, so that tens of thousands of literals fit into a few megabytes.

use std::collections::HashMap;

use watertight_engine::image::layout::{
    AUTOMATON_ANYWHERE, AUTOMATON_FROM_END, AUTOMATON_FROM_START, NONE, OUTPUT_ONLY, PLACE_ANYWHERE, PLACE_END,
    PLACE_START, STATE_CLASS_SHIFT, STATE_DENSE, STATE_OUTPUT, USE_ANNOUNCES, USE_PLACE_SHIFT,
};

/// What the full rows of one automaton may take, in words: they compete for a processor's cache.
const DENSE_WORDS_MAX: usize = 32 << 10;

/// States of a tree from which more ways than this lead have a full row: the others are found among few.
const LISTED_WAYS_MAX: usize = 8;

/// Where in a value literals are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Where {
    /// Everywhere.
    Anywhere,
    /// Where it begins.
    Start,
    /// Where it ends, backwards.
    End,
}

/// A literal's use: the predicate that it answers, where it must stand, and whether that announces a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) predicate: u32,
    pub(crate) place: u32,
    pub(crate) announces: bool,
}

impl Use {
    fn word(self) -> u32 {
        self.place << USE_PLACE_SHIFT | if self.announces { USE_ANNOUNCES } else { 0 } | self.predicate
    }
}

/// Literals in the making.
#[derive(Debug)]
pub(crate) struct Literals {
    from: Where,
    nodes: Vec<Node>,
    longest: usize,
}

#[derive(Debug, Default)]
struct Node {
    /// By byte, ascending.
    children: Vec<(u8, u32)>,
    uses: Vec<Use>,
    depth: u32,
}

/// An automaton as the image holds it; its outputs are numbered from 0.
pub(crate) struct Layout {
    pub(crate) classes: [u8; 256],
    pub(crate) class_count: u32,
    pub(crate) states: Vec<u32>,
    pub(crate) outputs: Vec<Output>,
    /// `AUTOMATON_`.
    pub(crate) from: u32,
    pub(crate) longest_bytes: u32,
}

/// A literal that is found.
pub(crate) struct Output {
    pub(crate) size_bytes: u32,
    pub(crate) uses: Vec<u32>,
    pub(crate) next: u32,
}

impl Literals {
    pub(crate) fn new(from: Where) -> Self {
        Self { from, nodes: vec![Node::default()], longest: 0 }
    }

    /// Adds a folded literal.
    pub(crate) fn add(&mut self, literal: &[u8], used: Use) {
        self.longest = self.longest.max(literal.len());
        let mut at = 0;
        for position in 0..literal.len() {
            let byte = if self.from == Where::End { literal[literal.len() - 1 - position] } else { literal[position] };
            at = self.child(at, byte);
        }
        let uses = &mut self.nodes[at].uses;
        if !uses.contains(&used) {
            uses.push(used);
        }
    }

    fn child(&mut self, parent: usize, byte: u8) -> usize {
        let found = self.nodes[parent].children.binary_search_by_key(&byte, |(byte, _)| *byte);
        match found {
            Ok(position) => self.nodes[parent].children[position].1 as usize,
            Err(position) => {
                let (fresh, depth) = (self.nodes.len(), self.nodes[parent].depth + 1);
                self.nodes.push(Node { depth, ..Node::default() });
                self.nodes[parent].children.insert(position, (byte, fresh as u32));
                fresh
            }
        }
    }

    /// Lays the automaton out. `outputs_before` are in the image already.
    pub(crate) fn layout(&self, outputs_before: u32) -> Layout {
        let (classes, class_count) = self.classes();
        let order = self.breadth_first();
        let fails = self.fails(&order);
        let (outputs, output_of) = self.outputs(&order, &fails, outputs_before);
        let is_dense = self.dense_states(&order, &fails, class_count);
        let sequence = self.sequence(&order, &fails, &is_dense);
        // Where each node's state begins, in words.
        let mut offsets = vec![0_u32; self.nodes.len()];
        let mut size = 0_usize;
        for node in &sequence {
            offsets[*node] = size as u32;
            size += self.state_words(*node, is_dense[*node], output_of[*node], class_count);
        }
        let flags = |node: usize| {
            let output = if output_of[node] == NONE { 0 } else { STATE_OUTPUT };
            output | if is_dense[node] { STATE_DENSE } else { 0 }
        };
        let target = |node: usize| offsets[node] | flags(node);
        let only = self.only_uses(&order, &fails);
        let mut states = Vec::with_capacity(size);
        // Rows of the dense states, by node: what a state falls back to is before it.
        let mut rows: HashMap<usize, Vec<u32>> = HashMap::new();
        for node in sequence {
            let output = only[node].unwrap_or(output_of[node]);
            let children = &self.nodes[node].children;
            if is_dense[node] {
                // What the nearest state with a row says, but for the ways of those that fall back to it; of a tree only its own ways.
                let back = std::iter::successors(Some(node), |node| self.back_of(*node, &fails));
                let back: Vec<usize> = back.take_while(|node| !rows.contains_key(node)).collect();
                let nearest = back.last().and_then(|node| self.back_of(*node, &fails));
                let known = nearest.map(|node| &rows[&node]);
                let mut row = known.cloned().unwrap_or_else(|| vec![target(0); class_count as usize]);
                for (byte, child) in back.iter().rev().flat_map(|node| &self.nodes[*node].children) {
                    row[usize::from(classes[usize::from(*byte)])] = target(*child as usize);
                }
                states.extend([flags(node), output]);
                states.extend(&row);
                rows.insert(node, row);
                continue;
            }
            let class_of = |byte: u8| u32::from(classes[usize::from(byte)]);
            let only = match children.as_slice() {
                [(byte, _)] => class_of(*byte) << STATE_CLASS_SHIFT,
                _ => 0,
            };
            states.extend([children.len() as u32 | only | flags(node), target(fails[node])]);
            if output != NONE {
                states.push(output);
            }
            if children.len() > 1 {
                for four in children.chunks(4) {
                    let mut packed = [0_u8; 4];
                    for (place, (byte, _)) in packed.iter_mut().zip(four) {
                        *place = classes[usize::from(*byte)];
                    }
                    states.push(u32::from_le_bytes(packed));
                }
            }
            states.extend(children.iter().map(|(_, child)| target(*child as usize)));
        }
        let from = match self.from {
            Where::Anywhere => AUTOMATON_ANYWHERE,
            Where::Start => AUTOMATON_FROM_START,
            Where::End => AUTOMATON_FROM_END,
        };
        Layout { classes, class_count, states, outputs, from, longest_bytes: self.longest as u32 }
    }

    /// What a state goes on with when it has no way itself; nothing in a tree.
    fn back_of(&self, node: usize, fails: &[usize]) -> Option<usize> {
        (node != 0 && self.from == Where::Anywhere).then(|| fails[node])
    }

    /// A class for each byte that occurs, shared by an ASCII letter and its capital; 0 for all others.
    fn classes(&self) -> ([u8; 256], u32) {
        let mut occurs = [false; 256];
        for (byte, _) in self.nodes.iter().flat_map(|node| &node.children) {
            occurs[usize::from(*byte)] = true;
        }
        let mut classes = [0_u8; 256];
        let mut count = 1_u32;
        for byte in (0..=u8::MAX).filter(|byte| occurs[usize::from(*byte)]) {
            // There are 256 bytes, and capital letters do not occur in folded text.
            classes[usize::from(byte)] = count as u8;
            classes[usize::from(byte.to_ascii_uppercase())] = count as u8;
            count += 1;
        }
        (classes, count)
    }

    fn breadth_first(&self) -> Vec<usize> {
        let mut order = vec![0];
        let mut at = 0;
        while let Some(node) = order.get(at).copied() {
            order.extend(self.nodes[node].children.iter().map(|(_, child)| *child as usize));
            at += 1;
        }
        order
    }

    /// For each node the one of the longest proper ending of its text; in a tree the first.
    fn fails(&self, order: &[usize]) -> Vec<usize> {
        let mut fails = vec![0; self.nodes.len()];
        if self.from != Where::Anywhere {
            return fails;
        }
        for node in order {
            for (byte, child) in &self.nodes[*node].children {
                let mut back = fails[*node];
                fails[*child as usize] = loop {
                    if *node == 0 {
                        break 0;
                    }
                    if let Some(next) = self.find(back, *byte) {
                        break next;
                    }
                    if back == 0 {
                        break 0;
                    }
                    back = fails[back];
                };
            }
        }
        fails
    }

    fn find(&self, node: usize, byte: u8) -> Option<usize> {
        let children = &self.nodes[node].children;
        let position = children.binary_search_by_key(&byte, |(byte, _)| *byte).ok()?;
        Some(children[position].1 as usize)
    }

    /// The literals in the order of their lengths, and for each node the longest that its text ends with.
    fn outputs(&self, order: &[usize], fails: &[usize], before: u32) -> (Vec<Output>, Vec<u32>) {
        let mut outputs: Vec<Output> = Vec::new();
        let mut output_of = vec![NONE; self.nodes.len()];
        for node in order.iter().copied().filter(|node| *node != 0) {
            let shorter = output_of[fails[node]];
            let uses = &self.nodes[node].uses;
            if uses.is_empty() {
                output_of[node] = shorter;
                continue;
            }
            output_of[node] = before + outputs.len() as u32;
            let uses = uses.iter().map(|used| used.word()).collect();
            outputs.push(Output { size_bytes: self.nodes[node].depth, uses, next: shorter });
        }
        (outputs, output_of)
    }

    /// For each node the output of one whose text, and the literals that it ends with, have a single use that stands where this automaton
    /// looks.
    fn only_uses(&self, order: &[usize], fails: &[usize]) -> Vec<Option<u32>> {
        let place = match self.from {
            Where::Anywhere => PLACE_ANYWHERE,
            Where::Start => PLACE_START,
            Where::End => PLACE_END,
        };
        let mut uses_of: Vec<Vec<Use>> = vec![Vec::new(); self.nodes.len()];
        for node in order.iter().copied().filter(|node| *node != 0) {
            uses_of[node] = self.nodes[node].uses.iter().chain(&uses_of[fails[node]]).copied().take(2).collect();
        }
        let only = |uses: &Vec<Use>| match uses.as_slice() {
            [used] if used.place == place => Some(OUTPUT_ONLY | Use { place: 0, ..*used }.word()),
            _ => None,
        };
        uses_of.iter().map(only).collect()
    }

    /// Which states have a full row: all that one byte leads to, and those that are likely to be visited most. What texts of a field
    /// are like is guessed from its literals: how often what leads to a state occurs in them.
    fn dense_states(&self, order: &[usize], fails: &[usize], class_count: u32) -> Vec<bool> {
        if self.from != Where::Anywhere {
            let is_dense = |(number, node): (usize, &Node)| number == 0 || node.children.len() > LISTED_WAYS_MAX;
            return self.nodes.iter().enumerate().map(is_dense).collect();
        }
        let mut occurs: Vec<usize> = self.nodes.iter().map(|node| node.uses.len()).collect();
        for node in order.iter().rev() {
            for (_, child) in &self.nodes[*node].children {
                occurs[*node] += occurs[*child as usize];
            }
        }
        for node in order.iter().rev().filter(|node| **node != 0) {
            occurs[fails[*node]] += occurs[*node];
        }
        let is_shallow = |node: usize| self.nodes[node].depth <= 1;
        let shallow = order.iter().take_while(|node| is_shallow(**node)).count();
        let rows = shallow.max(DENSE_WORDS_MAX / (class_count as usize + 2)).min(order.len());
        let mut likely = order.to_vec();
        likely.sort_by_key(|node| (!is_shallow(*node), std::cmp::Reverse(occurs[*node])));
        let mut is_dense = vec![false; self.nodes.len()];
        likely.iter().take(rows).for_each(|node| is_dense[*node] = true);
        is_dense
    }

    /// In which order states lie: those with a row first, from the first state on; then each followed by one that it leads to, so that
    /// what is read along a literal lies close together. What a state falls back to is before it.
    fn sequence(&self, order: &[usize], fails: &[usize], is_dense: &[bool]) -> Vec<usize> {
        let mut sequence: Vec<usize> = order.iter().copied().filter(|node| is_dense[*node]).collect();
        let mut is_placed = is_dense.to_vec();
        for node in order {
            let mut going = Some(*node).filter(|node| !is_placed[*node]);
            while let Some(node) = going {
                sequence.push(node);
                is_placed[node] = true;
                let mut children = self.nodes[node].children.iter().map(|(_, child)| *child as usize);
                going = children.find(|child| !is_placed[*child] && is_placed[fails[*child]]);
            }
        }
        sequence
    }

    fn state_words(&self, node: usize, is_dense: bool, output: u32, class_count: u32) -> usize {
        if is_dense {
            return class_count as usize + 2;
        }
        let count = self.nodes[node].children.len();
        let packed = if count > 1 { count.div_ceil(4) } else { 0 };
        2 + usize::from(output != NONE) + packed + count
    }
}
