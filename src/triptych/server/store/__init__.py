"""What a server must not forget: tables, statements, migrations. The only place with SQL."""
