-- What later looks at the rows of 0001 to 0004 need. The rules of 0001_initial.sql hold here, too.

---------------------------------------------------------------------------------------------------
-- Webhooks
---------------------------------------------------------------------------------------------------

-- Deliveries that were taken, by endpoint, the newest first: 'genrun webhook deliveries'. Those of other states have such
-- an index from 0004 on.
CREATE INDEX delivery_delivered ON delivery (endpoint, id) WHERE status='delivered';
