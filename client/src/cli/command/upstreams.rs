//! `haul upstreams`

use std::{io::Write, time::Duration};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use futures::{StreamExt, TryStreamExt};
use haul_proto::v1::{HoldGateRequest, UpdateUpstreamRequest, Upstream};
use prost_types::FieldMask;

use super::{
    Context,
    failure::Failure,
    read::{cut, limit},
};
use crate::cli::time;

/// Show what each upstream may be asked, and change it
///
/// Limits and holds are the server's: they bind all batches, from now on and through restarts. RATE/S is what is in
/// force, 0 while the gate is held; SET is what was set here. An upstream goes by its name in the list, or by any URL
/// there. With -o json or yaml the list is one document, `upstreams`.
#[derive(Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_long_help = "\
Examples:
  haul upstreams
  haul upstreams --filter 'hold_cause = OPERATOR'
  haul upstreams set api.example.com --rate 2 --burst 5
  haul upstreams hold https://api.example.com --for 10m --reason lunch
  haul upstreams release api.example.com"
)]
pub(super) struct Upstreams {
    #[command(subcommand)]
    what: Option<What>,
    /// Only these, such as 'breaker.state != CLOSED'.
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,
    /// Most upstreams to list.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
    limit: usize,
}

#[derive(Debug, Subcommand)]
enum What {
    Get(Get),
    Set(Set),
    Hold(Hold),
    Release(Release),
}

/// Show one upstream
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul upstreams get api.example.com
  haul upstreams get http://127.0.0.1:8080 -o json | jq .breaker")]
struct Get {
    /// Its name, or a URL there.
    upstream: String,
}

/// Set limits of an upstream, in force at once
///
/// What is not named stays. What is not set comes from the live batches: the largest rate with its burst, and the sum
/// of the workers.
#[derive(Args, Debug)]
#[command(
    override_usage = "haul upstreams set [OPTIONS] <UPSTREAM>",
    group = ArgGroup::new("limits").required(true).multiple(true).args(["rate", "burst", "max_in_flight", "unset"]),
    after_long_help = "\
Examples:
  haul upstreams set api.example.com --rate 2 --burst 5
  haul upstreams set api.example.com --max-in-flight 4
  haul upstreams set api.example.com --unset rate,burst"
)]
struct Set {
    /// Its name, or a URL there.
    upstream: String,
    /// Requests per second, all batches together; 0.001 to 1,000,000.
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Requests at once after idleness; 1 to 100,000.
    #[arg(long, value_name = "N")]
    burst: Option<i32>,
    /// Requests in flight at once; 1 to 10,000.
    #[arg(long, value_name = "N")]
    max_in_flight: Option<i32>,
    /// Limits to be set no more: rate, burst, max-in-flight.
    #[arg(long, value_name = "LIMITS", value_enum, value_delimiter = ',', hide_possible_values = true)]
    unset: Vec<Limit>,
    /// Only if nothing has changed since this etag was read.
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
    /// Also if nothing has used it yet.
    #[arg(long)]
    allow_missing: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Limit {
    Rate,
    Burst,
    MaxInFlight,
}

/// Send nothing more to an upstream
///
/// Its batches stay RUNNING and wait; what is in flight ends. `haul upstreams release` lets them go on.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul upstreams hold api.example.com --for 10m
  haul upstreams hold api.example.com --reason \"their database is being moved\"")]
struct Hold {
    /// Its name, or a URL there.
    upstream: String,
    /// For how long, such as 90s, 10m, 2h or 1d; 1s to 30d. Without it: until it is released.
    #[arg(long = "for", value_name = "TIME", value_parser = time::span)]
    span: Option<Duration>,
    /// Why, for people.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// End whatever holds an upstream
///
/// A hold, a wait that it asked for; and one that is down is asked at once whether it answers again.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul upstreams release api.example.com")]
struct Release {
    /// Its name, or a URL there.
    upstream: String,
    /// Why, for the server's log.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl Upstreams {
    pub(super) async fn run(self, context: &Context, out: &mut impl Write) -> Result<u8, Failure> {
        let client = context.connect().await?;
        let upstream = match self.what {
            None => {
                let upstreams = client.list_upstreams(&self.filter).take(self.limit.saturating_add(1));
                let mut upstreams: Vec<_> = upstreams.try_collect().await?;
                cut(&mut upstreams, self.limit);
                context.output.upstreams(&upstreams, out)?;
                return Ok(0);
            }
            Some(What::Get(get)) => client.get_upstream(&get.upstream).await?,
            Some(What::Set(set)) => client.update_upstream(set.request()).await?,
            Some(What::Hold(Hold { upstream: name, span, reason })) => {
                // One that is too long for the wire is too long for the server, which says so.
                let longest = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
                let duration = span.map(|span| prost_types::Duration::try_from(span).unwrap_or(longest));
                client.hold_gate(HoldGateRequest { name, duration, reason }).await?
            }
            Some(What::Release(release)) => client.release_gate(&release.upstream, &release.reason).await?,
        };
        context.output.upstream(&upstream, out)?;
        Ok(0)
    }
}

impl Set {
    fn request(self) -> UpdateUpstreamRequest {
        let named = [
            (Limit::Rate, self.rate.is_some(), "configured_requests_per_second"),
            (Limit::Burst, self.burst.is_some(), "configured_burst"),
            (Limit::MaxInFlight, self.max_in_flight.is_some(), "configured_max_in_flight"),
        ];
        let paths = named
            .into_iter()
            .filter(|(limit, is_set, _)| *is_set || self.unset.contains(limit))
            .map(|(.., path)| path.to_owned())
            .collect();
        let upstream = Upstream {
            name: self.upstream,
            etag: self.etag,
            configured_requests_per_second: self.rate,
            configured_burst: self.burst,
            configured_max_in_flight: self.max_in_flight,
            ..Upstream::default()
        };
        let update_mask = Some(FieldMask { paths });
        UpdateUpstreamRequest { upstream: Some(upstream), update_mask, allow_missing: self.allow_missing }
    }
}
