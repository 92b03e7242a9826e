// SPDX-License-Identifier: GPL-2.0

//! The two states of an entry and what moves it between them (pure).

use super::header::Header;

/// Where an initiator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not proved itself; the short timer runs.
    Initial,
    /// It has shown a responder SPI; ESP and AH may pass.
    Established,
}

/// What came in for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// IKE with a responder SPI of zero: the first message of an IKE SA.
    IkeFirst,
    /// IKE with a responder SPI, which shows that a server has answered.
    IkeLater,
    /// IKE with a responder SPI that no server has given.
    IkeUnproved,
    /// A NAT keepalive.
    Keepalive,
    /// ESP, AH or ESP in UDP.
    Ipsec {
        /// Whether it is to restart timers.
        refreshes: bool,
    },
    /// ESP or AH whose SPI names the server.
    Named,
}

impl Event {
    /// What an IKE message is, where the server was seen to give the SPI `learnt`; 0 if it was not
    /// seen. Where what it sends may pass by the director unseen (dr, tun), any responder SPI
    /// shows that it has answered; `sees_replies` if it may not.
    pub fn ike(header: &Header, learnt: u64, sees_replies: bool) -> Event {
        let knows_none = header.is_aside && header.responder_spi == 0;
        if header.is_first() || knows_none {
            Event::IkeFirst
        } else if learnt == 0 && !sees_replies || learnt != 0 && header.shows(learnt) {
            Event::IkeLater
        } else {
            Event::IkeUnproved
        }
    }
}

/// What an event does to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Forward, and restart the timer of this state, which is the entry's from now on.
    Restart(State),
    /// Forward; state and timer stay.
    Forward,
    /// Drop; state and timer stay.
    Drop,
}

impl Outcome {
    /// What becomes of a message that says nothing about its IKE SA (`Header::is_aside`).
    pub fn aside(self) -> Self {
        match self {
            Outcome::Restart(_) => Outcome::Forward,
            other => other,
        }
    }
}

impl State {
    /// What `event` does to an entry in this state.
    pub fn on(self, event: Event) -> Outcome {
        match (self, event) {
            (State::Initial, Event::IkeFirst | Event::Named) => Outcome::Restart(State::Initial),
            (State::Initial, Event::IkeLater) => Outcome::Restart(State::Established),
            (State::Initial, Event::Keepalive) => Outcome::Forward,
            (State::Initial, Event::IkeUnproved | Event::Ipsec { .. }) => Outcome::Drop,
            (State::Established, Event::Named | Event::Ipsec { refreshes: false }) => {
                Outcome::Forward
            }
            // The client has rebooted, or rekeyed with other SPIs: it keeps its server.
            (State::Established, _) => Outcome::Restart(State::Established),
        }
    }
}

#[cfg(any(test, CONFIG_KUNIT))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(ipvs_ipsec_ike_state))]
mod tests {
    use super::*;
    use Event::*;
    use State::*;

    #[test]
    fn a_responder_spi_establishes() {
        assert_eq!(Initial.on(IkeFirst), Outcome::Restart(Initial));
        assert_eq!(Initial.on(IkeLater), Outcome::Restart(Established));
    }

    #[test]
    fn the_responder_spi_must_be_that_of_the_reply() {
        let message = |responder_spi| Header {
            initiator_spi: 1,
            responder_spi,
            from_responder: false,
            is_aside: false,
        };
        assert_eq!(Event::ike(&message(0), 0, true), IkeFirst);
        assert_eq!(Event::ike(&message(0), 7, true), IkeFirst);
        for sees_replies in [false, true] {
            assert_eq!(Event::ike(&message(7), 7, sees_replies), IkeLater);
            assert_eq!(Event::ike(&message(8), 7, sees_replies), IkeUnproved);
        }
        assert_eq!(Event::ike(&message(7), 0, true), IkeUnproved);
        assert_eq!(Event::ike(&message(7), 0, false), IkeLater);
        assert_eq!(Initial.on(IkeUnproved), Outcome::Drop);
        assert_eq!(Established.on(IkeUnproved), Outcome::Restart(Established));
    }

    #[test]
    fn so_does_an_answer_to_what_the_server_began() {
        let mut answer = Header {
            initiator_spi: 7,
            responder_spi: 8,
            from_responder: true,
            is_aside: false,
        };
        assert_eq!(Event::ike(&answer, 7, true), IkeLater);
        answer.responder_spi = 0; // a COOKIE
        assert_eq!(Event::ike(&answer, 7, true), IkeLater);
        assert_eq!(Event::ike(&answer, 9, true), IkeUnproved);
    }

    #[test]
    fn a_notification_in_clear_passes_before_the_responder_is_known() {
        let message = Header {
            initiator_spi: 1,
            responder_spi: 0,
            from_responder: false,
            is_aside: true,
        };
        for (learnt, sees_replies) in [(0, false), (0, true), (7, false), (7, true)] {
            let event = Event::ike(&message, learnt, sees_replies);
            assert_eq!(Initial.on(event).aside(), Outcome::Forward);
        }
    }

    #[test]
    fn what_is_aside_moves_nothing() {
        for state in [Initial, Established] {
            for event in [IkeFirst, IkeLater, IkeUnproved] {
                let (ours, others) = (state.on(event).aside(), state.on(event));
                let drops = |outcome| outcome == Outcome::Drop;
                assert_eq!(drops(ours), drops(others));
                assert!(!matches!(ours, Outcome::Restart(_)));
            }
        }
    }

    #[test]
    fn a_name_lets_pass_and_proves_nothing() {
        assert_eq!(Initial.on(Named), Outcome::Restart(Initial));
        assert_eq!(Established.on(Named), Outcome::Forward);
    }

    #[test]
    fn nothing_leads_back() {
        let ipsec = [false, true].map(|refreshes| Ipsec { refreshes });
        let others = [IkeFirst, IkeLater, IkeUnproved, Keepalive, Named];
        for event in Iterator::chain(others.into_iter(), ipsec) {
            let outcome = Established.on(event);
            assert!(matches!(
                outcome,
                Outcome::Restart(Established) | Outcome::Forward
            ));
        }
    }

    #[test]
    fn ipsec_needs_an_established_entry_and_restarts_timers_only_if_told() {
        for refreshes in [false, true] {
            assert_eq!(Initial.on(Ipsec { refreshes }), Outcome::Drop);
        }
        let on = |refreshes| Established.on(Ipsec { refreshes });
        assert_eq!(on(false), Outcome::Forward);
        assert_eq!(on(true), Outcome::Restart(Established));
    }

    #[test]
    fn keepalives_hold_only_what_is_established() {
        assert_eq!(Initial.on(Keepalive), Outcome::Forward);
        assert_eq!(Established.on(Keepalive), Outcome::Restart(Established));
    }
}
