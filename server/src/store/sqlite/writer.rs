//! The one connection that writes, and its transactions.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use futures::FutureExt;
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tokio::sync::{Mutex, OwnedMappedMutexGuard, OwnedMutexGuard};

use super::script::{Ran, Script};

/// Whoever holds it writes. Fair: tokio's mutex is first come, first served.
pub(super) type Turn = OwnedMappedMutexGuard<Option<SqliteConnection>, SqliteConnection>;

/// The one connection that writes.
///
/// Not a pool of one: that asks the engine's thread once more at each return, and what it knows of transactions is not
/// what SQLite knows, which rolls back by itself when a commit finds no room.
#[derive(Debug, Clone)]
pub(super) struct Writer(Arc<Mutex<Option<SqliteConnection>>>);

impl Writer {
    pub(super) async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        Ok(Self(Arc::new(Mutex::new(Some(options.connect().await?)))))
    }

    /// Waits for the connection.
    pub(super) async fn turn(&self) -> Result<Turn, sqlx::Error> {
        let slot = Arc::clone(&self.0).lock_owned().await;
        OwnedMutexGuard::try_map(slot, Option::as_mut).map_err(|_| sqlx::Error::PoolClosed)
    }

    /// Takes the one writing lock, and runs a script in the transaction on the same way.
    pub(super) async fn begin_with(&self, mut script: Script) -> Result<(Tx, Vec<Ran>), sqlx::Error> {
        script.begin();
        let mut tx = Tx { turn: self.turn().await?, is_over: false };
        let mut ran = script.run(&mut tx).await?;
        ran.remove(0);
        Ok((tx, ran))
    }

    /// Runs a whole transaction on one way. Answers for each statement of the script.
    pub(super) async fn transact(&self, mut script: Script) -> Result<Vec<Ran>, sqlx::Error> {
        script.begin();
        let tx = Tx { turn: self.turn().await?, is_over: false };
        let mut ran = tx.commit_with(script).await?;
        ran.remove(0);
        ran.pop();
        Ok(ran)
    }

    /// Copies the log to the file, and closes it.
    pub(super) async fn close(&self) {
        if let Some(conn) = self.0.lock().await.take()
            && let Err(error) = conn.close().await
        {
            tracing::warn!(error = %error, "the store did not close");
        }
    }
}

/// A transaction, which is rolled back unless it is committed.
pub(super) struct Tx {
    turn: Turn,
    is_over: bool,
}

impl Tx {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.commit_with(Script::default()).await?;
        Ok(())
    }

    /// Runs a script and commits on the same way.
    pub(super) async fn commit_with(mut self, mut script: Script) -> Result<Vec<Ran>, sqlx::Error> {
        script.add("COMMIT");
        let ran = script.run(&mut self).await?;
        self.is_over = true;
        Ok(ran)
    }
}

impl Deref for Tx {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        &self.turn
    }
}

impl DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.turn
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        if !self.is_over {
            // Sent at the first poll, and done before whatever the next in turn sends. Where nothing is left to roll back,
            // SQLite says so, and that is all.
            let _ = sqlx::query("ROLLBACK").execute(&mut *self.turn).now_or_never();
        }
    }
}
