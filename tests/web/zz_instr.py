import asyncio, asyncpg.pool, traceback
from app.db import database as d
orig=d.Database.stop
async def stop(self):
    pool=self.engine.pool
    t=asyncio.get_running_loop().time()
    if pool is not None:
        inuse=[(h._con, h._in_use) for h in pool._holders if h._in_use]
        if inuse:
            print("IN USE at stop", inuse, [ (x.get_name(), x.get_stack()) for x in asyncio.all_tasks()])
    await orig(self)
    t=asyncio.get_running_loop().time()-t
    if t>0.5: print("SLOW STOP",t, [ (x.get_name(), x.get_stack()) for x in asyncio.all_tasks()])
d.Database.stop=stop
