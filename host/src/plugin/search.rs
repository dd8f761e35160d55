//! Which rows make a call fail: a search in calls on fewer of them. A pure function over a call.
