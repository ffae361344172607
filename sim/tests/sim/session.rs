//! Cookie, crumb, and the parameters that clients send with them.

use haul_sim::{Refuse, RetryAfter, SimConfig};
use serde_json::Value;

use crate::Bench;

#[tokio::test]
async fn the_crumb_is_for_who_has_the_cookie() {
    let bench = Bench::new(SimConfig::default()).await;
    let (base, client) = (bench.sim.base_url(), &bench.client);
    let page = client.get(format!("{base}/")).send().await.unwrap();
    assert_eq!(page.status(), 404);
    let cookie = page.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();

    let crumb = async |cookie: &str| {
        let request =
            client.get(format!("{base}/v1/test/getcrumb")).header("cookie", format!("B=1; {cookie}"));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let (status, text) = crumb(&cookie).await;
    assert_eq!((status, text.len()), (200, 11), "{text:?}");
    assert_eq!(crumb(&cookie).await.1, text, "it stays");
    let (status, refusal) = crumb("A3=other").await;
    assert_eq!(status, 401);
    assert!(refusal.contains("Invalid Cookie"), "{refusal}");
    let endpoints: Vec<_> = bench.log().iter().map(|line| line["endpoint"].clone()).collect();
    assert_eq!(endpoints, ["cookie", "crumb", "crumb", "crumb"]);
}

#[tokio::test]
async fn a_refused_crumb_has_the_refusal_as_its_body() {
    let refuse = Some(Refuse::All { retry_after: RetryAfter::None });
    let bench = Bench::new(SimConfig { refuse, ..SimConfig::default() }).await;
    let url = format!("{}/v1/test/getcrumb", bench.sim.base_url());
    let response = bench.client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["content-type"], "text/plain");
    assert_eq!(response.text().await.unwrap(), "Too Many Requests\r\n");
}

#[tokio::test]
async fn parameters_that_no_chart_needs_change_nothing() {
    let bench = Bench::new(SimConfig { items: Some(40), ..SimConfig::default() }).await;
    let ask = async |code: &str, more: &str| {
        let window = "period1=1500000000&period2=1790000000&interval=1d";
        let url = format!("{}/v8/finance/chart/{code}.T?{window}{more}", bench.sim.base_url());
        let response = bench.client.get(url).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        body
    };
    let session = "&crumb=a%2Fb&lang=ja-JP&region=JP&corsDomain=finance.yahoo.com&useYfid=true&formatted=false\
                   &.tsrc=finance&includePrePost=false&includeAdjustedClose=true";
    let (mut dividends, mut splits) = (0, 0);
    for code in crate::list::codes(&bench).await {
        assert_eq!(ask(&code, "").await, ask(&code, session).await);
        let both = ask(&code, "&events=div%7Csplit%7Cearn").await;
        let events = &both["chart"]["result"][0]["events"];
        dividends += usize::from(events["dividends"].is_object());
        splits += usize::from(events["splits"].is_object());
        for form in ["div%2Csplits%2CcapitalGains", "div,split", "capitalGains%7Cdiv%7Csplits"] {
            assert_eq!(ask(&code, &format!("&events={form}")).await, both, "{code}: {form}");
        }
    }
    assert!(dividends > 0 && splits > 0, "{dividends} codes with dividends, {splits} with splits");
}
