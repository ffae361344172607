//! Versions of the exchange's list.

use chrono::{DateTime, NaiveDate, Utc};
use sqlx::{QueryBuilder, Row, Sqlite, SqlitePool, sqlite::SqliteRow};

use super::{SqliteStore, error, instant, ms};
use crate::{
    domain::listing::{ListFile, ListVersion, ListedIssue, Segment, StoredList},
    store::StoreError,
};

pub(super) async fn put(
    store: &SqliteStore,
    list: &ListFile,
    uri: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    let date = list.version.list_date.to_string();
    let sha256 = &list.version.sha256;
    let inserted = sqlx::query(
        "INSERT OR IGNORE INTO list_versions (list_date, sha256, uri, fetched_at, issue_count) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&date)
    .bind(sha256)
    .bind(uri)
    .bind(ms(now))
    .bind(list.issues.len() as i64)
    .execute(&mut *tx)
    .await
    .map_err(error::store)?;
    let is_new = inserted.rows_affected() > 0;
    // The same file may have come from another address, or from this one before.
    let is_known: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM listed_issues WHERE list_date = $1 AND list_sha256 = $2)",
    )
    .bind(&date)
    .bind(sha256)
    .fetch_one(&mut *tx)
    .await
    .map_err(error::store)?;
    if is_known {
        tx.commit().await.map_err(error::store)?;
        return Ok(is_new);
    }
    let rows: Vec<(i64, &ListedIssue)> = (0..).zip(&list.issues).collect();
    for rows in rows.chunks(200) {
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO listed_issues (list_date, list_sha256, row_no, code, name, market, segment, industry33_code,
               industry33, industry17_code, industry17, scale_code, scale) ",
        );
        insert.push_values(rows, |mut row, (row_no, issue)| {
            row.push_bind(date.as_str())
                .push_bind(sha256.as_str())
                .push_bind(*row_no)
                .push_bind(issue.code.as_str())
                .push_bind(issue.name.as_str())
                .push_bind(issue.market.as_str())
                .push_bind(issue.segment.map(Segment::as_str))
                .push_bind(issue.industry33_code.as_str())
                .push_bind(issue.industry33.as_str())
                .push_bind(issue.industry17_code.as_str())
                .push_bind(issue.industry17.as_str())
                .push_bind(issue.scale_code.as_str())
                .push_bind(issue.scale.as_str());
        });
        insert.build().execute(&mut *tx).await.map_err(error::store)?;
    }
    tx.commit().await.map_err(error::store)?;
    Ok(is_new)
}

pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<StoredList>, StoreError> {
    let rows = sqlx::query("SELECT * FROM list_versions ORDER BY uri, list_date, fetched_at, sha256 DESC")
        .fetch_all(pool)
        .await
        .map_err(error::store)?;
    let stored = |row: &SqliteRow| {
        Ok(StoredList {
            uri: row.get("uri"),
            version: version(row)?,
            fetched_at: instant(row.get("fetched_at")),
            issue_count: row.get("issue_count"),
        })
    };
    rows.iter().map(stored).collect()
}

pub(super) async fn as_of(
    pool: &SqlitePool,
    uri: &str,
    date: NaiveDate,
) -> Result<Option<ListVersion>, StoreError> {
    // Of two files for one day the one fetched last is the correction.
    let row = sqlx::query(
        "SELECT list_date, sha256 FROM list_versions WHERE uri = $1 AND list_date <= $2
         ORDER BY list_date DESC, fetched_at DESC, sha256 LIMIT 1",
    )
    .bind(uri)
    .bind(date.to_string())
    .fetch_optional(pool)
    .await
    .map_err(error::store)?;
    row.as_ref().map(version).transpose()
}

pub(super) async fn earliest(pool: &SqlitePool, uri: &str) -> Result<Option<ListVersion>, StoreError> {
    let row = sqlx::query(
        "SELECT list_date, sha256 FROM list_versions WHERE uri = $1
         ORDER BY list_date, fetched_at DESC, sha256 LIMIT 1",
    )
    .bind(uri)
    .fetch_optional(pool)
    .await
    .map_err(error::store)?;
    row.as_ref().map(version).transpose()
}

fn version(row: &SqliteRow) -> Result<ListVersion, StoreError> {
    Ok(ListVersion {
        list_date: row.get::<&str, _>("list_date").parse().map_err(|_| error::damaged("list_date"))?,
        sha256: row.get("sha256"),
    })
}

pub(super) async fn issues(
    pool: &SqlitePool,
    version: &ListVersion,
    from: i64,
    limit: usize,
) -> Result<Vec<ListedIssue>, StoreError> {
    let rows = sqlx::query(
        "SELECT * FROM listed_issues WHERE list_date = $1 AND list_sha256 = $2 AND row_no >= $3 ORDER BY row_no LIMIT $4",
    )
    .bind(version.list_date.to_string())
    .bind(&version.sha256)
    .bind(from)
    .bind(limit as i64)
    .fetch_all(pool)
    .await
    .map_err(error::store)?;
    Ok(rows
        .iter()
        .map(|row| ListedIssue {
            code: row.get("code"),
            name: row.get("name"),
            market: row.get("market"),
            segment: row.get::<Option<&str>, _>("segment").and_then(Segment::parse),
            industry33_code: row.get("industry33_code"),
            industry33: row.get("industry33"),
            industry17_code: row.get("industry17_code"),
            industry17: row.get("industry17"),
            scale_code: row.get("scale_code"),
            scale: row.get("scale"),
        })
        .collect())
}
