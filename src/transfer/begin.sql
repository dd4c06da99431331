-- An export of the ARF control plane, for PostgreSQL 12 and later:
--   psql --no-psqlrc --dbname=DATABASE --file=export.sql
-- Loads everything or nothing.
\set ON_ERROR_STOP on
\encoding UTF8
SET client_min_messages = warning;
SET standard_conforming_strings = on;
BEGIN;

CREATE TABLE IF NOT EXISTS tenants (
  id VARCHAR(64) NOT NULL,
  name VARCHAR(256) NOT NULL,
  created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
  created_by VARCHAR(128),
  PRIMARY KEY (id)
);
CREATE INDEX IF NOT EXISTS ix_tenants_id ON tenants (id);

CREATE TABLE IF NOT EXISTS api_keys (
  key VARCHAR(256) NOT NULL,
  tenant_id VARCHAR(64) NOT NULL,
  tier VARCHAR(32) NOT NULL,
  created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
  last_used_at TIMESTAMP WITHOUT TIME ZONE,
  is_active BOOLEAN NOT NULL,
  PRIMARY KEY (key),
  FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ix_api_keys_key ON api_keys (key);
CREATE INDEX IF NOT EXISTS ix_api_keys_tenant_id ON api_keys (tenant_id);

CREATE TABLE IF NOT EXISTS intents (
  id SERIAL NOT NULL,
  deterministic_id VARCHAR(64) NOT NULL,
  tenant_id VARCHAR(64) NOT NULL,
  intent_type VARCHAR(64) NOT NULL,
  payload JSON NOT NULL,
  oss_payload JSON,
  environment VARCHAR(32),
  created_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
  evaluated_at TIMESTAMP WITHOUT TIME ZONE,
  risk_score VARCHAR(32),
  PRIMARY KEY (id),
  FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ix_intents_id ON intents (id);
CREATE UNIQUE INDEX IF NOT EXISTS ix_intents_deterministic_id ON intents (deterministic_id);
CREATE INDEX IF NOT EXISTS ix_intents_tenant_id ON intents (tenant_id);

CREATE TABLE IF NOT EXISTS intent_outcomes (
  id SERIAL NOT NULL,
  intent_id INTEGER NOT NULL,
  success BOOLEAN NOT NULL,
  recorded_by VARCHAR(128),
  notes TEXT,
  recorded_at TIMESTAMP WITHOUT TIME ZONE NOT NULL,
  idempotency_key VARCHAR(128),
  PRIMARY KEY (id),
  CONSTRAINT uq_outcome_intentid UNIQUE (intent_id),
  FOREIGN KEY (intent_id) REFERENCES intents (id) ON DELETE CASCADE,
  UNIQUE (idempotency_key)
);
CREATE INDEX IF NOT EXISTS ix_intent_outcomes_id ON intent_outcomes (id);

CREATE TABLE IF NOT EXISTS beta_state (
  id SERIAL NOT NULL,
  tenant_id VARCHAR(64) NOT NULL,
  category VARCHAR(32) NOT NULL,
  alpha FLOAT NOT NULL,
  beta FLOAT NOT NULL,
  updated_at TIMESTAMP WITHOUT TIME ZONE,
  PRIMARY KEY (id),
  CONSTRAINT uq_beta_state_tenant_category UNIQUE (tenant_id, category),
  FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ix_beta_state_id ON beta_state (id);
CREATE INDEX IF NOT EXISTS ix_beta_state_tenant_id ON beta_state (tenant_id);
CREATE INDEX IF NOT EXISTS ix_beta_state_category ON beta_state (category);

CREATE TABLE IF NOT EXISTS decision_audit_log (
  id VARCHAR(64) NOT NULL,
  tenant_id VARCHAR(64) NOT NULL,
  deterministic_id VARCHAR(64) NOT NULL,
  timestamp TIMESTAMP WITHOUT TIME ZONE NOT NULL,
  risk_score FLOAT NOT NULL,
  action VARCHAR(32) NOT NULL,
  justification TEXT NOT NULL,
  memory_success_rate FLOAT,
  memory_weight FLOAT,
  counterfactual JSON,
  trace_id VARCHAR(128),
  signature VARCHAR(256),
  PRIMARY KEY (id),
  FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ix_decision_audit_log_tenant_id ON decision_audit_log (tenant_id);
CREATE INDEX IF NOT EXISTS ix_decision_audit_log_deterministic_id ON decision_audit_log (deterministic_id);
CREATE INDEX IF NOT EXISTS ix_decision_audit_log_timestamp ON decision_audit_log (timestamp);
CREATE INDEX IF NOT EXISTS idx_audit_tenant_time ON decision_audit_log (tenant_id, timestamp);

