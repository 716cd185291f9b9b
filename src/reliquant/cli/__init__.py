"""The console command `reliquant`, a file for each subcommand."""
