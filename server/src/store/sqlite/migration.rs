//! The schema's versions, each applied once, in order.

use std::{borrow::Cow, sync::LazyLock};

use sqlx::{
    SqlSafeStr, SqliteExecutor, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
};

use crate::store::StoreError;

/// Version, what it brings, its statements.
const MIGRATIONS: [(i64, &str, &str); 13] = [
    (1, "init", include_str!("migration/0001_init.sql")),
    (2, "children_and_outages", include_str!("migration/0002_children_and_outages.sql")),
    (3, "listing_changes", include_str!("migration/0003_listing_changes.sql")),
    (4, "left_out", include_str!("migration/0004_left_out.sql")),
    (5, "control", include_str!("migration/0005_control.sql")),
    (6, "reads", include_str!("migration/0006_reads.sql")),
    (7, "overlap", include_str!("migration/0007_overlap.sql")),
    (8, "uploads", include_str!("migration/0008_uploads.sql")),
    (9, "limits", include_str!("migration/0009_limits.sql")),
    (10, "purged", include_str!("migration/0010_purged.sql")),
    (11, "priority", include_str!("migration/0011_priority.sql")),
    (12, "leftovers", include_str!("migration/0012_leftovers.sql")),
    (13, "responses", include_str!("migration/0013_responses.sql")),
];

static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    Migrator::with_migrations(
        MIGRATIONS
            .into_iter()
            .map(|(version, description, sql)| {
                Migration::new(
                    version,
                    Cow::Borrowed(description),
                    MigrationType::Simple,
                    sql.into_sql_str(),
                    false,
                )
            })
            .collect(),
    )
});

/// The schema that this program knows.
const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// What a store's schema is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Version of the store.
    pub store: i64,
    /// Newest version that this program knows.
    pub known: i64,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A newer program wrote it.
    #[error(
        "the store's schema is version {store}, this hauld knows versions up to {known}: \
         use the newer hauld that wrote it, or another store"
    )]
    Newer {
        /// Version of the store.
        store: i64,
        /// Newest version that this program knows.
        known: i64,
    },
    /// A migration that was applied is not the one that this program has.
    #[error("the store's schema version {0} is not the one this hauld knows: it was made by another build")]
    Differs(i64),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(super) async fn run(pool: &SqlitePool) -> Result<(), MigrateError> {
    MIGRATOR.run(pool).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::VersionMissing(store) => MigrateError::Newer { store, known: VERSION },
        sqlx::migrate::MigrateError::VersionMismatch(version) => MigrateError::Differs(version),
        sqlx::migrate::MigrateError::Execute(error)
        | sqlx::migrate::MigrateError::ExecuteMigration(error, _) => super::error::store(error).into(),
        other => StoreError::Fault(other.to_string()).into(),
    })
}

pub(super) async fn schema(conn: impl SqliteExecutor<'_>) -> Result<Schema, sqlx::Error> {
    let store =
        sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations").fetch_one(conn).await?;
    Ok(Schema { store, known: VERSION })
}

/// The first version of a store that was made by other statements than those that this program has for it.
pub(super) async fn differs(conn: impl SqliteExecutor<'_>) -> Result<Option<i64>, sqlx::Error> {
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations ORDER BY version")
            .fetch_all(conn)
            .await?;
    let differs = |(version, checksum): &(i64, Vec<u8>)| {
        MIGRATOR.iter().any(|known| known.version == *version && *known.checksum != **checksum)
    };
    Ok(applied.into_iter().find(differs).map(|(version, _)| version))
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, Row, SqlSafeStr, SqliteConnection};

    use super::MIGRATIONS;

    #[tokio::test]
    async fn request_ids_of_before_belong_to_the_call_that_made_their_batch() {
        let mut conn = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let batch = "INSERT INTO batch_executions
            (name, display_name, batch_type, kind, parent_seq, status, spec, as_of_at, zone, created_at, state_since_at)
            VALUES ('night', '', '', 'FETCH', NULL, 'QUEUED', '{}', 0, 'UTC', 0, 0),
                   ('child', '', '', 'REDECODE', 1, 'QUEUED', '{}', 0, 'UTC', 0, 0)";
        let requests = "INSERT INTO requests (request_id, request_sha256, batch_name, expires_at)
            VALUES ('a', x'01', 'night', 7), ('b', x'02', 'child', 8)";
        let at = MIGRATIONS.iter().position(|(_, what, _)| *what == "overlap").unwrap();
        let before = MIGRATIONS[..at].iter().map(|(.., sql)| *sql);
        for sql in before.chain([batch, requests, MIGRATIONS[at].2]) {
            sqlx::raw_sql(sql.into_sql_str()).execute(&mut conn).await.unwrap();
        }
        let rows = sqlx::query(
            "SELECT principal || rpc || request_id || expires_at AS row FROM requests ORDER BY 1",
        )
        .fetch_all(&mut conn)
        .await
        .unwrap();
        let rows: Vec<String> = rows.iter().map(|row| row.get("row")).collect();
        assert_eq!(rows, ["Redecodeb8", "StartBatcha7"]);
    }

    #[test]
    fn every_file_is_a_migration_and_versions_are_dense() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/sqlite/migration");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let named: Vec<String> = MIGRATIONS
            .iter()
            .map(|(version, description, _)| format!("{version:04}_{description}.sql"))
            .collect();
        assert_eq!(files, named);
        assert!(MIGRATIONS.iter().zip(1..).all(|((version, ..), expected)| *version == expected));
    }
}
