use super::*;

/// The table of docs/contract.md, section 2.2; a lease is live. A row's words: `-` illegal, `=` stay, `x` refused,
/// `^` the cause rises, `>` an end, anything else the state that is entered.
#[test]
fn every_cell_is_the_contracts() {
    // seal, admitted, pause, resume, stop, drained, exhausted, system, unreadable, outage, outage over, budget,
    // deadline, replaced
    #[rustfmt::skip]
    let table = [
        (State::Open,      "QUEUED     -       xBATCH_OPEN     xBATCH_OPEN     >USER_STOP      -      -                -       -                  -       =       -                  >OPEN_TTL     >OVERLAP_CANCEL"),
        (State::Queued,    "xSEALED    RUNNING PAUSED          =               >USER_STOP      -      -                -       >SOURCE_UNREADABLE -       =       -                  >MAX_DURATION >OVERLAP_CANCEL"),
        (State::Running,   "xSEALED    -       PAUSING         =               >USER_STOP      =      >ALL_ITEMS_FINAL PAUSING >SOURCE_UNREADABLE PAUSING =       >FAILURE_THRESHOLD >MAX_DURATION >OVERLAP_CANCEL"),
        (State::Pausing,   "xSEALED    -       ^USER           RUNNING         >USER_STOP      PAUSED >ALL_ITEMS_FINAL ^SYSTEM >SOURCE_UNREADABLE =       RUNNING >FAILURE_THRESHOLD >MAX_DURATION >OVERLAP_CANCEL"),
        (State::Paused,    "xSEALED    -       ^USER           QUEUED          >USER_STOP      -      -                ^SYSTEM >SOURCE_UNREADABLE -       QUEUED  -                  >MAX_DURATION >OVERLAP_CANCEL"),
        (State::Stopping,  "xSTOPPING  -       xSTOPPING       xSTOPPING       =               finish -                =       =                  =       =       =                  =             ="),
        (State::Completed, "xTERMINAL  -       xTERMINAL       xTERMINAL       xTERMINAL       -      -                -       -                  -       -       -                  -             -"),
        (State::Failed,    "xTERMINAL  -       xTERMINAL       xTERMINAL       xTERMINAL       -      -                -       -                  -       -       -                  -             -"),
        (State::Stopped,   "xTERMINAL  -       xTERMINAL       xTERMINAL       =               -      -                -       -                  -       -       -                  -             -"),
    ];
    assert_eq!(table.len(), State::ALL.len());
    for (state, row) in table {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells.len(), Input::ALL.len(), "{state:?}");
        for (input, cell) in Input::ALL.into_iter().zip(cells) {
            assert_eq!(shown(decide(state, input, Leases::Live)), cell, "{state:?} {input:?}");
        }
    }
}

fn shown(decision: Decision) -> String {
    match decision {
        Decision::Enter(state) => state.as_str().to_owned(),
        Decision::End(reason) => format!(">{}", reason.as_str()),
        Decision::Finish => "finish".to_owned(),
        Decision::RaiseCause(PauseCause::SystemFailure) => "^SYSTEM".to_owned(),
        Decision::RaiseCause(cause) => format!("^{}", cause.as_str()),
        Decision::Stay => "=".to_owned(),
        Decision::Refuse(Refusal::Open) => "xBATCH_OPEN".to_owned(),
        Decision::Refuse(refusal) => format!("x{}", format!("{refusal:?}").to_uppercase()),
        Decision::Illegal => "-".to_owned(),
    }
}

#[test]
fn without_a_lease_pausing_is_passed_over() {
    for input in [Input::Pause, Input::SystemFailure, Input::OutageDeclared] {
        assert_eq!(decide(State::Running, input, Leases::None), Decision::Enter(State::Paused));
    }
}

#[test]
fn a_system_failure_outranks_a_user_and_a_user_an_outage() {
    assert!(PauseCause::SystemFailure > PauseCause::User && PauseCause::User > PauseCause::UpstreamOutage);
}

#[test]
fn words_read_back() {
    for state in State::ALL {
        assert_eq!(State::parse(state.as_str()), Some(state));
    }
    for cause in PauseCause::ALL {
        assert_eq!(PauseCause::parse(cause.as_str()), Some(cause));
    }
    for parent in [None, Some(BatchSeq(7))] {
        assert_eq!(Kind::parse("FETCH", parent), Some(Kind::Fetch));
        assert_eq!(Kind::parse("REDECODE", parent), parent.map(|parent| Kind::Redecode { parent }));
        assert_eq!(Kind::parse("RETRY", parent), parent.map(|parent| Kind::Retry { parent }));
    }
    for mode in DrainMode::ALL {
        assert_eq!(DrainMode::parse(mode.as_str()), Some(mode));
    }
    for reason in EndReason::ALL {
        assert_eq!(EndReason::parse(reason.as_str()), Some(reason));
        assert!(reason.end().is_terminal());
    }
}
