from accounts import erasure as accounts_erasure
from core import periodic_jobs
from tokens import erasure, use_news
from tokens.approval import lapsing
from tokens.expiry import notices, orphaned, unused
from tokens.keys import retirement
from tokens.review import running
from tokens.status_lists import removing
from tokens.trust import exchange

periodic_jobs.register("expiry notices", notices.put_due, every=notices.EVERY)
periodic_jobs.register("signing keys", retirement.retire_unused_job, every=retirement.EVERY)
periodic_jobs.register("unused tokens", unused.end_unused, every=unused.EVERY)
periodic_jobs.register("orphaned service accounts", orphaned.end_orphaned, every=orphaned.EVERY)
periodic_jobs.register("finished status lists", removing.remove_finished, every=removing.EVERY)
periodic_jobs.register("review campaigns", running.run, every=running.EVERY)
periodic_jobs.register("lapsed requests for tokens", lapsing.tell_lapsed, every=lapsing.EVERY)
accounts_erasure.register("tokens", erasure.erase)
periodic_jobs.register("news of tokens", use_news.tell_of_new_uses, every=use_news.EVERY)
periodic_jobs.register("refused token exchanges", exchange.log_waiting_refusals, every=exchange.LOGGED_EVERY)
