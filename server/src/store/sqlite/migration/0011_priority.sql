-- Batches in the order of their priority.

CREATE INDEX batch_executions_priority ON batch_executions (priority, seq);
