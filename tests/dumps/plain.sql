--
-- PostgreSQL database dump
--

SET statement_timeout = 0;

CREATE TABLE public.t (
    id integer
);


COPY public.t (id) FROM stdin;
1
\.


--
-- PostgreSQL database dump complete
--
