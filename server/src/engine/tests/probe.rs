//! What an upstream is asked with that is down.

use super::*;
use crate::engine::upkeep::question;

#[tokio::test]
async fn probes_of_a_batch_with_many_hosts_take_its_items_by_turns() {
    let world = World::new(SimConfig::default(), Duration::from_secs(60)).await;
    let new = inline("many", &["1301"]);
    let batch = world.engine.store.create_batch(new, clock::now()).await.unwrap().batch;
    let known: Vec<_> = ["1301", "1305", "1306"].map(|key| (key.to_owned(), None)).into();
    let mut asked = Vec::new();
    for failed_probes in 0..5 {
        let (item, _) = question(&world.engine, &batch, known.clone(), failed_probes).await.unwrap();
        asked.push(item.0);
    }
    assert_eq!(asked, ["1301", "1305", "1306", "1301", "1305"]);
}
