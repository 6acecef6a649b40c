-- What later looks at the rows of 0001 to 0004 need. The rules of 0001_initial.sql hold here, too.

---------------------------------------------------------------------------------------------------
-- Webhooks
---------------------------------------------------------------------------------------------------

-- Deliveries that were taken, by endpoint, the newest first: 'genrun webhook deliveries'. Those of other states have such
-- an index from 0004 on.
CREATE INDEX delivery_delivered ON delivery (endpoint, id) WHERE status='delivered';

---------------------------------------------------------------------------------------------------
-- Models
---------------------------------------------------------------------------------------------------

-- Models that nothing is sent to now: the runner looks for them whenever the database has changed, and of a thousand
-- names that were once unreachable few are.
CREATE INDEX model_state_closed ON model_state (model_id, state) WHERE state<>'ok';
