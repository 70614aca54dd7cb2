"""What people see in a browser: pages made on the server, each a single file that asks for nothing else."""
