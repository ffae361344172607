//! Several statements on one way to the engine's thread and back: the way costs more than a small statement does.

use futures::TryStreamExt;
use sqlx::{
    Arguments, AssertSqlSafe, Either, Encode, Executor, Sqlite, SqliteConnection, Type,
    sqlite::{SqliteArguments, SqliteRow},
};

const BEGIN: &str = "BEGIN IMMEDIATE";
const BEGIN_FIRST: &str = "BEGIN IMMEDIATE;\n";

/// Statements that run one after the other. The first one that fails ends the script; what ran before it stays.
///
/// Parameters are `?`, bound in the order of the statements. They have no names: sqlx asks for the name of each, and
/// SQLite walks through all of them to find it, which at some hundred parameters took a third of the server's time.
#[derive(Default)]
pub(super) struct Script {
    sql: String,
    arguments: SqliteArguments,
    unbound: Option<sqlx::Error>,
}

/// What one statement of a script read or returned.
pub(super) type Ran = Vec<SqliteRow>;

impl Script {
    /// The next statement. The engine prepares each text of a script once, so parts that vary are values.
    pub(super) fn add(&mut self, statement: &str) -> &mut Self {
        if !self.sql.is_empty() {
            self.sql.push_str(";\n");
        }
        self.sql.push_str(statement);
        self
    }

    /// More of the present statement.
    pub(super) fn then(&mut self, more: &str) -> &mut Self {
        self.sql.push_str(more);
        self
    }

    /// Puts the taking of the writing lock before all.
    pub(super) fn begin(&mut self) {
        self.sql.insert_str(0, if self.sql.is_empty() { BEGIN } else { BEGIN_FIRST });
    }

    /// The next parameter's value.
    pub(super) fn bind<'t>(&mut self, value: impl Encode<'t, Sqlite> + Type<Sqlite>) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.unbound.get_or_insert(sqlx::Error::Encode(error));
        }
        self
    }

    /// Runs it to its end. Answers for each statement, in their order.
    pub(super) async fn run(self, conn: &mut SqliteConnection) -> Result<Vec<Ran>, sqlx::Error> {
        if let Some(error) = self.unbound {
            return Err(error);
        }
        let mut ran = Vec::new();
        if self.sql.is_empty() {
            return Ok(ran);
        }
        let mut steps = conn.fetch_many(sqlx::query_with(AssertSqlSafe(self.sql), self.arguments));
        let mut current = Ran::new();
        while let Some(step) = steps.try_next().await? {
            match step {
                Either::Right(row) => current.push(row),
                Either::Left(_) => ran.push(std::mem::take(&mut current)),
            }
        }
        Ok(ran)
    }
}
