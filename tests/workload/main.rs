//! The Workload API and the files as workloads meet them: the real server and the real agent, nothing fake between.
