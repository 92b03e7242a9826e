// SPDX-License-Identifier: GPL-2.0

//! An entry: one initiator flow, bound to one real server.

mod expire;
mod hints;
mod kept;
pub(crate) mod reply;
pub(crate) mod room;
mod sighting;
pub(crate) mod soft;
pub(crate) mod table;
pub(crate) mod template;
#[cfg(CONFIG_KUNIT)]
mod tests;

pub(crate) use expire::period as sweep_period;

use crate::{
    addr::{Addr, Flow},
    ike::{
        header::Header,
        state::{Event, State},
    },
    kapi::once,
    server::Server,
};
use kept::Kept;
use kernel::{
    build_assert::static_assert,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        barrier::smp_mb,
        Arc,
    },
};
use sighting::Spis;
use template::Template;

/// Seconds for which a server may still answer when an entry has ended.
const LINGER: u64 = 60;

/// An entry. Whatever changes in it is atomic; packets of many CPUs use it at once. What data packets
/// look at comes first, in as few cache lines as can be.
#[repr(C)]
pub(crate) struct Entry {
    kept: Kept,
    clock: Clock,
    /// Where its packets go.
    pub(crate) server: Arc<Server>,
    spis: Spis,
    initiator_spi: Atomic<u64>,
    responder_spi: Atomic<u64>,
}

// With what the table has of it, two cache lines.
static_assert!(size_of::<Entry>() == 64);

/// Why an entry is made.
pub(crate) enum Origin<'a> {
    /// An IKE message came in, whose initiator SPI has this hash (`Entries::spi_hash`).
    Message(&'a Header, u32),
    /// A connection begins.
    Connection,
    /// Another entry vouches for the initiator.
    Entry(&'a Entry),
    /// An SPI names the server.
    Name,
}

impl Origin<'_> {
    /// The IKE SPIs of initiator and responder that it tells of an entry that is to be in `state`; 0
    /// where there is none.
    fn spis(&self, state: State) -> (u64, u64) {
        match (self, state) {
            (Origin::Connection | Origin::Name, _) => (0, 0),
            (Origin::Entry(other), _) => (other.initiator_spi(), other.responder_spi()),
            // Whoever is to show the responder SPI of a reply tells nothing by his own.
            (Origin::Message(header, _), State::Initial) => (header.initiator_spi, 0),
            (Origin::Message(header, _), State::Established) => {
                (header.initiator_spi, header.responder_spi)
            }
        }
    }
}

/// What is noted of the form of ESP.
const NATIVE: i8 = 1;
const IN_UDP: i8 = 2;
const VOUCHED: i8 = 4;

/// How an initiator sends ESP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As it is.
    Native,
    /// In UDP.
    InUdp,
}

/// What an entry is bound to.
#[derive(Clone, Copy)]
pub(crate) struct Binding<'a> {
    /// The server.
    pub(crate) server: &'a Arc<Server>,
    /// What persistence knows of the initiator.
    pub(crate) template: Option<&'a Arc<Template>>,
}

impl Entry {
    /// With `is_vouched`, something vouches for the initiator, so that its ESP passes before it has
    /// proved itself: an entry of its own, or an SPI that names the server.
    fn new(
        kept: Kept,
        server: Arc<Server>,
        clock: Clock,
        (initiator_spi, responder_spi): (u64, u64),
        is_vouched: bool,
    ) -> Self {
        if is_vouched {
            kept.notes().form.store(VOUCHED, Relaxed);
        }
        Entry {
            kept,
            clock,
            server,
            spis: Spis::none(),
            initiator_spi: Atomic::new(initiator_spi),
            responder_spi: Atomic::new(responder_spi),
        }
    }

    /// What it stands for.
    #[inline]
    pub(crate) fn flow(&self) -> Flow {
        self.kept.flow()
    }

    /// Address of the initiator (CIP).
    #[inline]
    pub(crate) fn client(&self) -> Addr {
        self.kept.client()
    }

    /// Address of the virtual service (VIP).
    #[inline]
    pub(crate) fn vip(&self) -> Addr {
        self.kept.vip()
    }

    /// What an event is for the entry in this state.
    #[inline]
    pub(crate) fn judge(&self, state: State, event: Event) -> Event {
        match event {
            Event::Ipsec { .. } | Event::IkeUnproved
                if state == State::Initial && self.is_vouched() =>
            {
                Event::Named
            }
            event => event,
        }
    }

    /// Whether `server` is its server, by whatever method.
    pub(crate) fn is_served_by(&self, server: &Server) -> bool {
        core::ptr::eq(&*self.server.account, &*server.account)
    }

    fn is_vouched(&self) -> bool {
        self.kept.notes().form.load(Relaxed) & VOUCHED != 0
    }

    /// How its initiator was last seen to send ESP. Only asked for where the server is to get it
    /// in UDP.
    pub(crate) fn form(&self) -> Option<Form> {
        match self.kept.notes().form.load(Relaxed) & !VOUCHED {
            NATIVE => Some(Form::Native),
            IN_UDP => Some(Form::InUdp),
            _ => None,
        }
    }

    /// Remembers how its initiator sends ESP.
    pub(crate) fn set_form(&self, form: Form) {
        let form = match form {
            Form::Native => NATIVE,
            Form::InUdp => IN_UDP,
        };
        let noted = &self.kept.notes().form;
        // Whether something vouches for it does not change.
        noted.store(noted.load(Relaxed) & VOUCHED | form, Relaxed);
    }

    /// Whether ESP of this SPI was let through in UDP.
    #[inline]
    pub(crate) fn has_seen(&self, spi: u32) -> bool {
        self.spis.has(spi)
    }

    /// The state it is in at `now`, or `None` if it is dead: its timer has ended, or its server
    /// was removed. The dead are found by the sweep only.
    #[inline]
    pub(crate) fn state(&self, now: u64) -> Option<State> {
        self.clock
            .state(now)
            .or_else(|| self.may_be_soft(now).then_some(State::Established))
            .filter(|_| !self.server.account.is_dead())
    }

    /// Whether its timer has ended, and it is the sweep's to say whether it goes.
    #[cold]
    fn may_be_soft(&self, now: u64) -> bool {
        self.clock.overdue(now).is_some() && self.server.account.common.soft.limit() > 0
    }

    /// Whether it is out of the table, or on its way out.
    fn is_gone(&self) -> bool {
        // ORDERING: Pairs with the exchanges in `Clock::retire` and `Clock::retire_ended`: either we
        // see that the entry is gone, or the caller of those sees what we have linked.
        smp_mb(Full);
        Clock::phase(self.clock.0.load(Relaxed)) == Phase::Gone
    }

    fn is_initial(&self) -> bool {
        Clock::phase(once::read(&self.clock.0)) == Phase::Alive(State::Initial)
    }

    /// Jiffies until its timer ends.
    pub(crate) fn remaining(&self, now: u64) -> u64 {
        self.clock.deadline().saturating_sub(now)
    }

    /// The IKE SPI of the initiator last seen, 0 if none was.
    pub(crate) fn initiator_spi(&self) -> u64 {
        self.initiator_spi.load(Relaxed)
    }

    /// The IKE SPI of the responder last seen, 0 if none was. In state initial it is that of a
    /// reply.
    pub(crate) fn responder_spi(&self) -> u64 {
        self.responder_spi.load(Relaxed)
    }

    /// What an IKE message of its initiator is.
    #[inline]
    pub(crate) fn on_ike(&self, header: &Header) -> Event {
        Event::ike(header, self.learnt(header), self.server.sees_replies())
    }

    /// The SPI of the server that an IKE message is to show, 0 if none was seen: that of its reply, or
    /// with which it has begun itself, if the message is an answer to that.
    #[inline]
    pub(crate) fn learnt(&self, header: &Header) -> u64 {
        match self.spis.offered() {
            // Only who is to prove himself is asked.
            offered if offered != 0 && header.shows(offered) && self.is_initial() => offered,
            _ => self.responder_spi(),
        }
    }

    /// Learns the SPI that the initiator is to show from what its server sends: a reply, or the
    /// beginning of an IKE SA of its own.
    pub(crate) fn learn(&self, message: &Header) {
        if message.is_aside {
            return;
        }
        let is_reply = message.initiator_spi == self.initiator_spi();
        match message.responder_spi {
            0 if !is_reply && self.is_initial() => self.spis.offer(message.initiator_spi),
            spi if is_reply && spi != 0 => self.responder_spi.store(spi, Relaxed),
            _ => {}
        }
    }

    /// Whether a message belongs to the IKE SA this entry has seen, as far as that can be told.
    pub(crate) fn may_own(&self, header: &Header) -> bool {
        let seen = self.responder_spi();
        seen == 0 || header.responder_spi == 0 || seen == header.responder_spi
    }
}

/// Times an entry is tried to be taken out of life while its timer is restarted.
const RETIRE_TRIES: usize = 8;

/// State and deadline of an entry in one word, so that no packet sees one without the other, and
/// none that is late puts a short deadline on an established entry.
struct Clock(Atomic<u64>);

/// What others have to know of a timer that was restarted.
#[derive(Default)]
struct Restarted {
    /// The state that the entry has left for another, if it has.
    from: Option<State>,
    /// Whether the timer ends sooner than before.
    sooner: bool,
}

/// What the low bits of the word say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Alive(State),
    /// The entry is out of the table, or on its way out.
    Gone,
}

impl Clock {
    /// Set in an entry that is out of the table, or on its way out; beside the state it was in.
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
        let word = once::read(&self.0);
        match Self::phase(word) {
            Phase::Alive(state) if word >> 2 > now => Some(state),
            _ => None,
        }
    }

    fn deadline(&self) -> u64 {
        self.0.load(Relaxed) >> 2
    }

    /// The word as of now, if the timer has ended by it.
    fn ended(&self, now: u64) -> Option<Ended> {
        let word = self.0.load(Relaxed);
        let is_alive = Self::phase(word) != Phase::Gone;
        (is_alive && word >> 2 <= now).then_some(Ended(word))
    }

    /// When the timer ended of an entry that was established until then.
    fn overdue(&self, now: u64) -> Option<u64> {
        self.ended(now)?.overdue()
    }

    /// Gives the entry a new deadline, and state `to`. An established entry never becomes initial,
    /// and what is gone stays so.
    #[inline]
    fn restart(&self, to: State, deadline: u64) -> Restarted {
        let old = self.0.load(Relaxed);
        let from = match Self::phase(old) {
            Phase::Alive(from) => from,
            Phase::Gone => return Restarted::default(),
        };
        let new = Self::word(to, deadline);
        if (from, to) == (State::Established, State::Initial) || old == new {
            return Restarted::default();
        }
        // Whoever was faster has just restarted the same timer; only what would be lost, the step
        // to established, is tried once more.
        let restarted = match self.0.cmpxchg(old, new, Relaxed) {
            Ok(_) => true,
            Err(now) if Self::phase(now) == Phase::Alive(State::Initial) && from != to => {
                self.0.cmpxchg(now, new, Relaxed).is_ok()
            }
            Err(_) => false,
        };
        Restarted {
            from: (restarted && from != to).then_some(from),
            sooner: restarted && deadline < old >> 2,
        }
    }

    /// Marks the entry gone as of `now`. Returns the state it was in, to the first caller only.
    fn retire(&self, now: u64) -> Option<State> {
        for _ in 0..RETIRE_TRIES {
            let seen = self.0.load(Relaxed);
            Self::alive(seen)?;
            if let Some(state) = self.retire_ended(Ended(seen), now) {
                return Some(state);
            }
        }
        // Its timer is restarted again and again: it is established.
        Self::alive(self.0.xchg(Self::gone(State::Established, now), Full))
    }

    /// The same, if its timer has not been restarted since it was seen to have ended.
    fn retire_ended(&self, Ended(seen): Ended, now: u64) -> Option<State> {
        let state = Self::alive(seen)?;
        let gone = Self::gone(state, now);
        self.0.cmpxchg(seen, gone, Full).ok().map(|_| state)
    }

    fn gone(state: State, now: u64) -> u64 {
        Self::word(state, now) | Self::GONE
    }

    fn alive(word: u64) -> Option<State> {
        match Self::phase(word) {
            Phase::Alive(state) => Some(state),
            Phase::Gone => None,
        }
    }

    /// Whether the entry is established, or was when it went out of life.
    fn was_established(&self) -> bool {
        self.0.load(Relaxed) & Self::word(State::Established, 0) != 0
    }

    /// When the entry was taken out of life, if it was.
    fn gone_since(&self) -> Option<u64> {
        let word = self.0.load(Relaxed);
        (Self::phase(word) == Phase::Gone).then_some(word >> 2)
    }
}

/// The word of a timer that was seen to have ended.
#[derive(Clone, Copy)]
struct Ended(u64);

impl Ended {
    /// That of an established entry whose timer has ended `since` then.
    fn established(since: u64) -> Self {
        Ended(Clock::word(State::Established, since))
    }

    /// When the timer has ended, if the entry was established.
    fn overdue(self) -> Option<u64> {
        let is_established = Clock::phase(self.0) == Phase::Alive(State::Established);
        is_established.then_some(self.since())
    }

    /// When the timer has ended.
    fn since(self) -> u64 {
        self.0 >> 2
    }
}
