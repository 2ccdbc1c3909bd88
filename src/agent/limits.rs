//! What the agent's two sockets let a process hold: every number of these doors.

use std::time::Duration;

/// Jobs that one agent serves at once, those included whose end the server has not heard of: more than runners run.
pub(super) const JOBS_MAX: usize = 256;
/// How often it is looked whether a job's cgroup is empty.
pub(super) const JOBS_LOOKED_AT_EVERY: Duration = Duration::from_secs(1);
/// Where one agent serves many jobs: connections to the Workload API of all of them. One job has at most as many as one
/// process has elsewhere, so it takes sixteen that mean it to leave no room.
pub(super) const CONNECTIONS_OF_HOST_MAX: usize = 4096;
/// And to the agent's own socket.
pub(super) const LOGINS_OF_HOST_MAX: usize = 1024;

/// Open connections to the Workload API: some for each process of a large job, at some ten kilobytes each.
pub(super) const CONNECTIONS_MAX: usize = 1024;
/// Open connections of one process, and at most half of what there is room for; clients use one or two.
pub(super) const CONNECTIONS_OF_ONE_MAX: usize = 256;
/// A connection that asks for nothing within this time is closed.
pub(super) const FIRST_REQUEST_WITHIN: Duration = Duration::from_secs(5);
/// A connection without an open call for one to two of these is closed; clients come back without a word.
pub(super) const IDLE_LOOKED_AT_EVERY: Duration = Duration::from_secs(60);
/// Open streams of one connection; clients use up to three.
pub(super) const STREAMS_MAX: u32 = 128;
/// Streams that their client took back before we saw them (CVE-2023-44487).
pub(super) const RESET_STREAMS_MAX: usize = 20;
/// Requests to the Workload API are small: a JWT-SVID to validate is the largest.
pub(super) const REQUEST_BYTES_MAX: usize = 128 * 1024;
/// What unfinished requests hold together; one of the largest and a thousand usual ones fit many times.
pub(super) const UNFINISHED_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A request comes over a Unix socket, so this is long.
pub(super) const REQUEST_WITHIN: Duration = Duration::from_secs(5);

/// Connections to the metrics port: a Prometheus or two, each asks once and goes.
pub(super) const SCRAPES_MAX: usize = 16;
/// From its beginning to its end.
pub(super) const SCRAPE_WITHIN: Duration = Duration::from_secs(10);

/// An accept that did not work (no file descriptors left) will not work a microsecond later either.
pub(super) const REST_AFTER_ERROR: Duration = Duration::from_millis(100);
/// Open connections to the agent's own socket: a login or logout each, which may wait for the server.
pub(super) const LOGINS_MAX: usize = 128;
/// Of one process.
pub(super) const LOGINS_OF_ONE_MAX: usize = 16;
/// The largest token, and the JSON around it.
pub(super) const LOGIN_BYTES_MAX: usize = 128 * 1024;
/// A header of HTTP/1.1, also the next one of a connection that is kept.
pub(super) const HEADER_WITHIN: Duration = Duration::from_secs(5);
/// What a client of a Unix socket says of itself fits in a fraction of it.
pub(super) const HEADER_BYTES_MAX: usize = 16 * 1024;
/// curl sends five.
pub(super) const HEADERS_MAX: usize = 32;
