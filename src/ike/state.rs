// SPDX-License-Identifier: GPL-2.0

//! The two states of an entry and what moves it between them (pure).

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
    /// IKE with a responder SPI. The director does not see the replies (dr, tun), so any SPI but
    /// zero shows that a server has answered.
    IkeLater,
    /// A NAT keepalive.
    Keepalive,
    /// ESP, AH or ESP in UDP.
    Ipsec,
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

impl State {
    /// What `event` does to an entry in this state.
    pub fn on(self, event: Event) -> Outcome {
        match (self, event) {
            (State::Initial, Event::IkeFirst) => Outcome::Restart(State::Initial),
            (State::Initial, Event::IkeLater) => Outcome::Restart(State::Established),
            (State::Initial, Event::Keepalive) => Outcome::Forward,
            (State::Initial, Event::Ipsec) => Outcome::Drop,
            // The client has rebooted, or rekeyed with other SPIs: it keeps its server.
            (State::Established, Event::IkeFirst | Event::IkeLater | Event::Keepalive) => {
                Outcome::Restart(State::Established)
            }
            (State::Established, Event::Ipsec) => Outcome::Forward,
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
    fn nothing_leads_back() {
        for event in [IkeFirst, IkeLater, Keepalive, Ipsec] {
            let outcome = Established.on(event);
            assert!(matches!(
                outcome,
                Outcome::Restart(Established) | Outcome::Forward
            ));
        }
    }

    #[test]
    fn ipsec_needs_an_established_entry_and_restarts_no_timer() {
        assert_eq!(Initial.on(Ipsec), Outcome::Drop);
        assert_eq!(Established.on(Ipsec), Outcome::Forward);
    }

    #[test]
    fn keepalives_hold_only_what_is_established() {
        assert_eq!(Initial.on(Keepalive), Outcome::Forward);
        assert_eq!(Established.on(Keepalive), Outcome::Restart(Established));
    }
}
