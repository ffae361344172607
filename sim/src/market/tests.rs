use super::*;
use crate::list;

fn market(seed: u64) -> Market {
    Market::new(seed, &list::generate(list::SERVED_SEED, 400))
}

/// Every issue with the view of a session in November 2026.
fn views(market: &Market) -> impl Iterator<Item = (&Issue, Arc<View>)> {
    let over = market.calendar.over_at(1_795_296_000);
    market.issues.values().filter_map(move |issue| Some((&**issue, issue.view(over, &market.calendar)?)))
}

#[test]
fn a_bar_holds_together() {
    let market = market(1);
    let mut lost = 0;
    for (issue, view) in views(&market) {
        for session in issue.first..=view.last {
            let Some(quote) = view.bar(issue, session, &market.calendar).quote else {
                lost += 1;
                continue;
            };
            let body = [quote.open, quote.close];
            assert!(
                body.iter().all(|price| (quote.low..=quote.high).contains(price)),
                "{} {session} {quote:?}",
                issue.code
            );
            assert!(quote.low > 0.0 && quote.adjclose > 0.0 && quote.adjclose <= quote.close);
            assert!(quote.volume > 0 || quote.high.to_bits() == quote.low.to_bits());
        }
    }
    assert!(lost > 0, "no row is lost anywhere");
}

#[test]
fn one_seed_one_history() {
    let (one, again, other) = (market(1), market(1), market(2));
    let bars = |market: &Market| {
        let issue = Arc::clone(market.issue("1301").unwrap());
        let view = issue.view(market.calendar.over_at(1_795_296_000), &market.calendar).unwrap();
        view.bars(&issue, view.last - 300..view.last + 1, Granularity::Session, &market.calendar)
    };
    assert_eq!(bars(&one), bars(&again));
    assert_ne!(bars(&one), bars(&other));
}

#[test]
fn prices_move_by_days_not_by_jumps() {
    let market = market(1);
    for (issue, view) in views(&market) {
        for session in issue.first + 1..=view.last {
            let (before, after) = (view.close(issue, session - 1), view.close(issue, session));
            let step = f64::from(after / before).ln().abs();
            // Ticks are coarse where a split was still to come on a low price.
            assert!(step < 0.35 || before < 20.0, "{} {session}: {before} {after}", issue.code);
        }
    }
}

/// Before a split prices are divided by its ratio and volumes multiplied, so traded value is kept.
#[test]
fn a_split_rewrites_what_was_before_it() {
    let market = market(1);
    let calendar = &market.calendar;
    let mut seen = 0;
    for (issue, view) in views(&market) {
        for split in
            issue.splits.iter().filter(|split| (issue.first + 1..=view.last).contains(&split.session))
        {
            let before_it = issue.view(split.session, calendar).unwrap(); // up to the session before
            let after_it = issue.view(split.session + 1, calendar).unwrap();
            let session = split.session - 1;
            let (Some(old), Some(new)) =
                (before_it.bar(issue, session, calendar).quote, after_it.bar(issue, session, calendar).quote)
            else {
                continue;
            };
            let ratio = f64::from(split.ratio);
            assert!((f64::from(new.close) * ratio / f64::from(old.close) - 1.0).abs() < 1e-6);
            assert_eq!(new.volume, old.volume * u64::from(split.ratio));
            assert!(
                after_it
                    .events
                    .contains(&Event { session: split.session, kind: EventKind::Split(split.ratio) })
            );
            assert!(!before_it.events.iter().any(|event| event.session == split.session));
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

/// The adjusted close before a dividend is lower by its share of the close: the provider's formula.
#[test]
fn dividends_lower_adjusted_closes_before_them() {
    let market = market(1);
    let mut seen = 0;
    for (issue, view) in views(&market) {
        let mut expected = 1.0;
        let mut later = view.last;
        for event in view.events.iter().rev() {
            let EventKind::Dividend(yen) = event.kind else { continue };
            let between = view.adjusted(issue, usize::midpoint(event.session, later));
            assert!((f64::from(between.adjclose) / f64::from(between.close) - expected).abs() < 1e-6);
            expected *= 1.0 - yen / f64::from(view.close(issue, event.session - 1));
            later = event.session - 1;
            seen += 1;
        }
        let first = view.adjusted(issue, issue.first);
        assert!(
            (f64::from(first.adjclose) / f64::from(first.close) - expected).abs() < 1e-6,
            "{}",
            issue.code
        );
    }
    assert!(seen > 1_000, "{seen}");
}

#[test]
fn dividends_fall_on_the_ex_days_of_march_and_september() {
    let market = market(1);
    let day = |text: &str| crate::calendar::EpochDay::of(text.parse().unwrap());
    let ex_days: std::collections::BTreeSet<_> = views(&market)
        .flat_map(|(_, view)| view.events.clone())
        .filter(|event| matches!(event.kind, EventKind::Dividend(_)))
        .map(|event| market.calendar.day(event.session))
        .collect();
    for ex_day in ["2024-03-28", "2025-09-29", "2019-03-27"] {
        assert!(ex_days.contains(&day(ex_day)), "{ex_day}");
    }
    assert!(ex_days.iter().all(|day| matches!(chrono::Datelike::month(&day.date()), 3 | 9)));
}

#[test]
fn longer_bars_are_made_of_sessions_and_do_not_depend_on_the_window() {
    let market = market(1);
    let calendar = &market.calendar;
    let issue = market.issue("1301").unwrap();
    let view = issue.view(calendar.over_at(1_795_296_000), calendar).unwrap();
    let months = |from_s, to_s| {
        view.bars(issue, Granularity::Month.sessions(&(from_s..to_s), calendar), Granularity::Month, calendar)
    };
    let year = months(1_735_657_200, 1_767_193_200); // 2025 in Japan
    assert_eq!(year.len(), 12);
    let from_mid_march = months(1_742_000_000, 1_750_000_000);
    assert_eq!(from_mid_march, year[2..6]);
    let march = Granularity::Month.sessions(&(1_742_000_000..1_742_000_001), calendar);
    let days: Vec<_> = march.map(|session| view.adjusted(issue, session)).collect();
    let bar = year[2].quote.unwrap();
    assert!(days.iter().all(|day| day.high <= bar.high && day.low >= bar.low));
    assert_eq!(days.iter().map(|day| day.volume).sum::<u64>(), bar.volume);
    assert_eq!(
        (days[0].open.to_bits(), days[days.len() - 1].close.to_bits()),
        (bar.open.to_bits(), bar.close.to_bits())
    );
}
