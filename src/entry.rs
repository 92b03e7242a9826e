// SPDX-License-Identifier: GPL-2.0

//! An entry: one initiator flow, bound to one real server.

mod expire;
pub(crate) mod reply;
pub(crate) mod table;
pub(crate) mod template;
#[cfg(CONFIG_KUNIT)]
mod tests;

pub(crate) use expire::PERIOD as SWEEP_PERIOD;

use crate::{
    addr::Flow,
    ike::{header::Header, state::State},
    server::{Method, Server},
};
use kernel::sync::{
    atomic::{Atomic, Full, Relaxed},
    Arc,
};
use template::Template;

/// Seconds for which a server that was removed may still answer.
const LINGER: u64 = 60;

/// An entry. Whatever changes in it is atomic; packets of many CPUs use it at once.
pub(crate) struct Entry {
    /// What it stands for.
    pub(crate) flow: Flow,
    /// Where its packets go.
    pub(crate) server: Arc<Server>,
    /// What persistence knows of the initiator.
    pub(crate) template: Option<Arc<Template>>,
    clock: Clock,
    initiator_spi: Atomic<u64>,
    responder_spi: Atomic<u64>,
    form: Atomic<i32>,
}

/// How an initiator sends ESP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Native,
    /// In UDP.
    InUdp,
}

/// What an entry is bound to.
#[derive(Clone)]
pub(crate) struct Binding {
    /// The server.
    pub(crate) server: Arc<Server>,
    /// What persistence knows of the initiator.
    pub(crate) template: Option<Arc<Template>>,
}

impl Entry {
    fn new(flow: Flow, binding: Binding, clock: Clock, header: &Header) -> Self {
        Entry {
            flow,
            server: binding.server,
            template: binding.template,
            clock,
            initiator_spi: Atomic::new(header.initiator_spi),
            responder_spi: Atomic::new(header.responder_spi),
            form: Atomic::new(0),
        }
    }

    /// How its initiator was last seen to send ESP. Only asked for where the server is to get it
    /// in UDP.
    pub(crate) fn form(&self) -> Option<Form> {
        match self.form.load(Relaxed) {
            1 => Some(Form::Native),
            2 => Some(Form::InUdp),
            _ => None,
        }
    }

    /// Remembers how its initiator sends ESP.
    pub(crate) fn set_form(&self, form: Form) {
        let form = match form {
            Form::Native => 1,
            Form::InUdp => 2,
        };
        self.form.store(form, Relaxed);
    }

    /// What it is bound to.
    pub(crate) fn binding(&self) -> Binding {
        Binding {
            server: self.server.clone(),
            template: self.template.clone(),
        }
    }

    /// The state it is in at `now`, or `None` if it is dead: its timer has ended, or its server
    /// was removed. The dead are found by the sweep only.
    #[inline]
    pub(crate) fn state(&self, now: u64) -> Option<State> {
        self.clock
            .state(now)
            .filter(|_| !self.server.account.is_dead())
    }

    /// Whether its timer has ended.
    fn has_expired(&self, now: u64) -> bool {
        let word = self.clock.0.load(Relaxed);
        Clock::phase(word) != Phase::Gone && word >> 2 <= now
    }

    /// Whether it is kept, dead, so that what its server still answers does not go out with the
    /// server's own address.
    fn lingers(&self, now: u64) -> bool {
        matches!(self.server.method, Method::Nat { .. })
            && self.server.account.died_within(LINGER, now)
    }

    /// Jiffies until its timer ends.
    pub(crate) fn remaining(&self, now: u64) -> u64 {
        self.clock.deadline().saturating_sub(now)
    }

    /// The IKE SPI of the initiator last seen.
    pub(crate) fn initiator_spi(&self) -> u64 {
        self.initiator_spi.load(Relaxed)
    }

    /// The IKE SPI of the responder last seen, 0 if none was.
    pub(crate) fn responder_spi(&self) -> u64 {
        self.responder_spi.load(Relaxed)
    }

    /// Whether a message belongs to the IKE SA this entry has seen, as far as that can be told.
    pub(crate) fn may_own(&self, header: &Header) -> bool {
        let seen = self.responder_spi();
        seen == 0 || header.responder_spi == 0 || seen == header.responder_spi
    }
}

/// State and deadline of an entry in one word, so that no packet sees one without the other, and
/// none that is late puts a short deadline on an established entry.
struct Clock(Atomic<u64>);

/// What the low bits of the word say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Alive(State),
    /// The entry is out of the table, or on its way out.
    Gone,
}

impl Clock {
    const GONE: u64 = 2;
    const MASK: u64 = 3;

    fn new(state: State, deadline: u64) -> Self {
        Clock(Atomic::new(Self::word(state, deadline)))
    }

    fn word(state: State, deadline: u64) -> u64 {
        deadline << 2
            | match state {
                State::Initial => 0,
                State::Established => 1,
            }
    }

    #[inline]
    fn phase(word: u64) -> Phase {
        match word & Self::MASK {
            0 => Phase::Alive(State::Initial),
            1 => Phase::Alive(State::Established),
            _ => Phase::Gone,
        }
    }

    #[inline]
    fn state(&self, now: u64) -> Option<State> {
        // The word stands for itself: nothing else is read on account of it.
        let word = self.0.load(Relaxed);
        match Self::phase(word) {
            Phase::Alive(state) if word >> 2 > now => Some(state),
            _ => None,
        }
    }

    fn deadline(&self) -> u64 {
        self.0.load(Relaxed) >> 2
    }

    /// Gives the entry a new deadline, and state `to`. Returns the state it left for that, if it
    /// is another. An established entry never becomes initial, and what is gone stays so.
    #[inline]
    fn restart(&self, to: State, deadline: u64) -> Option<State> {
        let old = self.0.load(Relaxed);
        let from = match Self::phase(old) {
            Phase::Alive(from) => from,
            Phase::Gone => return None,
        };
        let new = Self::word(to, deadline);
        if (from, to) == (State::Established, State::Initial) || old == new {
            return None;
        }
        // Whoever was faster has just restarted the same timer; only what would be lost, the step
        // to established, is tried once more.
        match self.0.cmpxchg(old, new, Relaxed) {
            Ok(_) => (from != to).then_some(from),
            Err(now) if Self::phase(now) == Phase::Alive(State::Initial) && from != to => {
                self.0.cmpxchg(now, new, Relaxed).ok().map(|_| from)
            }
            Err(_) => None,
        }
    }

    /// Takes the entry out of life, for the first who asks. Returns the state it was in.
    fn retire(&self) -> Option<State> {
        match Self::phase(self.0.xchg(Self::GONE, Full)) {
            Phase::Alive(state) => Some(state),
            Phase::Gone => None,
        }
    }
}
